/* The table of claims: heads that sort it, a field and lists that filter it.
   Without this script the table is whole, in the order of the book. */
(() => {
  "use strict";

  const NUMBERS = ["Expected", "Measured", "Where"]; /* statements hold numbers too, and are sorted as words */
  const FOLLOWS = { none: "ascending", ascending: "descending", descending: "none" };

  /* "≤ 1e−10" → 1e-10, "chapter 3" → 3, "✓ holds" → NaN */
  const number = text => parseFloat(text.replace(/−/g, "-").match(/-?\d[\d.]*(e[+-]?\d+)?/i)?.[0] ?? "");

  const element = (tag, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  };

  function sortable(table, columns) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const numbers = NUMBERS.map(column => columns.indexOf(column));
    [...table.tHead.rows[0].cells].forEach((head, j) => {
      const button = element("button", { type: "button", className: "gahb-sort", textContent: columns[j] });
      head.replaceChildren(button);
      head.scope = "col";
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const order = FOLLOWS[head.getAttribute("aria-sort")];
        for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", order);
        const sign = order === "descending" ? -1 : 1;
        const key = numbers.includes(j) ? row => number(row.cells[j].dataset.text) : row => row.cells[j].dataset.text;
        const compare = (a, b) => {
          const [x, y] = [key(a), key(b)];
          if (typeof x === "string") return sign * x.localeCompare(y);
          return (Number.isNaN(x) - Number.isNaN(y)) || sign * (x - y); /* what was not measured comes last */
        };
        body.append(...(order === "none" ? original : [...original].sort(compare)));
      });
    });
  }

  function choice(label, values) {
    const select = element("select", {}, element("option", { value: "", textContent: "all" }));
    for (const value of values) select.append(element("option", { value, textContent: value }));
    return [element("label", {}, element("span", { textContent: label }), select), select];
  }

  function filterable(table, columns, where) {
    const rows = [...table.tBodies[0].rows];
    const text = (row, column) => row.cells[columns.indexOf(column)].dataset.text;
    const bare = (row, column) => text(row, column).replace(/^[^\p{L}]+/u, ""); /* without the sign of a verdict */
    const distinct = column => [...new Set(rows.map(row => bare(row, column)))];
    const words = element("input", { type: "search" });
    const [verdictLabel, verdict] = choice("Verdict", distinct("Verdict"));
    const [chapterLabel, chapter] = choice("Chapter", distinct("Where").map(said => said.replace("chapter ", "")));
    const status = element("output", {});
    const form = element("form", { className: "gahb-filters" },
      element("label", {}, element("span", { textContent: "Search the claims" }), words),
      verdictLabel, chapterLabel, status);
    form.setAttribute("role", "search");
    form.setAttribute("aria-label", "Claims");
    const apply = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const said = [...row.cells].map(cell => cell.dataset.text).join(" ").toLowerCase();
        row.hidden = !(wanted.every(word => said.includes(word))
          && (!verdict.value || bare(row, "Verdict") === verdict.value)
          && (!chapter.value || text(row, "Where") === `chapter ${chapter.value}`));
        shown += !row.hidden;
      }
      status.textContent = shown === rows.length ? `${rows.length} claims` : `${shown} of ${rows.length} claims`;
    };
    form.addEventListener("input", apply);
    form.addEventListener("submit", event => event.preventDefault());
    apply();
    where.before(form);
  }

  const table = document.querySelector("table.gahb-sortable");
  if (!table) return;
  /* what is written in each cell, before MathJax replaces the formulas */
  for (const row of table.tBodies[0].rows)
    for (const cell of row.cells) cell.dataset.text = cell.textContent.trim().replace(/\s+/g, " ");
  const columns = [...table.tHead.rows[0].cells].map(head => head.textContent.trim());
  sortable(table, columns);
  filterable(table, columns, table.closest(".pst-scrollable-table-container") ?? table);
})();
