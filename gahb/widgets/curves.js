// Curves drawn as SVG. The nearest point answers to the pointer; the arrow keys
// walk along a curve and from one curve to the next; the legend switches curves off.

const MARKERS = [ // disk, square, triangle, diamond, triangle, plus, cross: those of the book's figures
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z", "M-3.6-3.6h7.2v7.2h-7.2Z", "M0-4.6L4.3 3.3H-4.3Z", "M0-5L4.4 0L0 5L-4.4 0Z",
  "M0 4.6L4.3-3.3H-4.3Z", "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3Z", "M-4.2-2.1l2.1-2.1l2.1 2.1l2.1-2.1l2.1 2.1l-2.1 2.1l2.1 2.1l-2.1 2.1l-2.1-2.1l-2.1 2.1l-2.1-2.1l2.1-2.1Z",
];

// An axis that holds `values`: `at` maps a value to 0 … 1, `ticks` are at most about `most` round values.
export function axis(values, log, most) {
  const to = log ? Math.log10 : (v) => v;
  let low = Infinity, high = -Infinity;
  for (const v of values) { low = Math.min(low, to(v)); high = Math.max(high, to(v)); }
  const room = 0.05 * (high - low) || (log ? 0.2 : 0.05 * Math.abs(low) || 0.5);
  low -= room;
  high += room;
  const at = (v) => (to(v) - low) / (high - low), inside = (v) => at(v) >= -1e-9 && at(v) <= 1 + 1e-9;
  let ticks = [], decimals = null;
  if (log) {
    const every = Math.max(1, Math.ceil((Math.floor(high) - Math.ceil(low) + 1) / most));
    const decades = Array.from({ length: Math.ceil(high) - Math.floor(low) + 1 }, (_, i) => Math.floor(low) + i);
    for (const factors of [[1], [1, 3], [1, 2, 5]]) {
      if (ticks.length > 2) break;
      ticks = decades.filter((e) => e % every === 0).flatMap((e) => factors.map((m) => m * 10 ** e)).filter(inside);
    }
  }
  if (ticks.length < 2) { // a linear axis, or a small part of a logarithmic one
    const [from, until] = log ? [10 ** low, 10 ** high] : [low, high], step = roundStep((until - from) / most);
    const first = Math.ceil(from / step - 1e-9), count = Math.floor(until / step + 1e-9) - first + 1;
    ticks = Array.from({ length: count }, (_, i) => (first + i) * step);
    decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  }
  return { at, ticks: ticks.map((v) => ({ at: at(v), text: number(v, 3, decimals) })) };
}

// 26.123 ± 0.021: two digits of the error, as many of the value.
export function measured(y, error) {
  if (error === undefined) return number(y);
  if (!(error > 0)) return `${number(y)} ± 0`;
  const decimals = 1 - Math.floor(Math.log10(error));
  const small = decimals > 6 || Math.abs(y) >= 1e5;
  return small ? `${number(y)} ± ${number(error, 2)}` : [y, error].map((v) => number(v, 4, Math.max(0, decimals))).join(" ± ");
}

function render({ model, el }) {
  const lines = model.get("lines"), reference = model.get("reference"), drawn = [...lines, ...(reference ? [reference] : [])];
  const parts = { xlabel: model.get("xlabel"), ylabel: model.get("ylabel") };
  const everyX = drawn.flatMap(({ x }) => x.flat()), logy = model.get("logy");
  const everyY = drawn.flatMap(({ y, stderr }) => y.flatMap((row, p) => row.flatMap((v, i) => {
    const e = stderr?.[stderr.length > 1 ? p : 0][i] ?? 0;
    return [v, v + e, ...(logy && v <= e ? [] : [v - e])];
  })));
  const scene = make("svg", { "aria-hidden": "true" }), tip = make("div", { class: "gw-tip", "aria-hidden": "true" });
  const plot = make("div", { class: "gw-plot", role: "slider", tabindex: 0, "data-lm-suppress-shortcuts": "true",
    "aria-label": `points of the curves, ${parts.ylabel} against ${parts.xlabel}; left and right along a curve, up and down to another` }, scene, tip);
  const legend = make("div", { class: "gw-legend", role: "group", "aria-label": "curves shown" });
  const keys = drawn.map((line, k) => {
    const mark = make("svg", { viewBox: "0 0 30 16", class: `gw-c${lines.includes(line) ? k % 7 : "r"}`, "aria-hidden": "true" },
      make("path", { class: "gw-line", d: "M1 8h28" }));
    if (lines.includes(line)) mark.append(make("path", { class: "gw-mark", d: MARKERS[k % 7], transform: "translate(15 8)" }));
    const button = make("button", { type: "button", class: "gw-key", "data-lm-suppress-shortcuts": "true" }, mark, make("span", {}, line.label));
    button.addEventListener("click", () => {
      const hidden = model.get("hidden");
      model.set("hidden", hidden.includes(line.label) ? hidden.filter((l) => l !== line.label) : [...hidden, line.label]);
      model.save_changes();
    });
    legend.append(button);
    return button;
  });
  let points = [], chosen = null; // of the curves shown: { line, k, i, px, py, x, y, error }

  const { body, schedule, close } = card(model, el, "curves", ["value", "hidden"], (position) => {
    const w = plot.clientWidth, h = plot.clientHeight;
    if (!w || !h) return "";
    const hidden = model.get("hidden"), shown = (line) => !hidden.includes(line.label);
    drawn.forEach((line, k) => keys[k].setAttribute("aria-pressed", shown(line)));
    const yAxis = axis(everyY, logy, Math.max(3, h / 48)), xAxis = axis(everyX, model.get("logx"), Math.max(3, w / 80));
    const left = 12 + 7 * Math.max(...yAxis.ticks.map(({ text }) => text.length)), right = w - 14, top = 30, bottom = h - 44;
    const px = (v) => left + xAxis.at(v) * (right - left), py = (v) => bottom - yAxis.at(v) * (bottom - top);
    const svg = [make("path", { class: "gw-grid", d: [
      ...yAxis.ticks.map(({ at }) => `M${left} ${bottom - at * (bottom - top)}H${right}`),
      ...xAxis.ticks.map(({ at }) => `M${left + at * (right - left)} ${top}V${bottom}`)].join("") }),
    make("path", { class: "gw-axis", d: `M${left} ${top}V${bottom}H${right}` })];
    const write = (text, x, y, anchor, cls = "gw-tick") => svg.push(make("text", { x, y, "text-anchor": anchor, class: cls }, text));
    yAxis.ticks.forEach(({ at, text }) => write(text, left - 7, bottom - at * (bottom - top) + 4, "end"));
    xAxis.ticks.forEach(({ at, text }) => write(text, left + at * (right - left), bottom + 17, "middle"));
    write(parts.ylabel, 2, 15, "start", "gw-name");
    write(parts.xlabel, (left + right) / 2, h - 8, "middle", "gw-name");

    points = [];
    const row = (part, of) => part?.[part.length > 1 ? of : 0];
    [...(reference ? [reference] : []), ...lines].filter(shown).forEach((line) => {
      const k = lines.indexOf(line), xs = row(line.x, position), ys = row(line.y, position), errors = row(line.stderr, position);
      const mine = xs.map((x, i) => ({ line, k, i, x, y: ys[i], error: errors?.[i], px: px(x), py: py(ys[i]) }));
      const group = make("g", { class: `gw-c${k < 0 ? "r" : k % 7}` });
      group.append(make("path", { class: "gw-line", d: mine.map((p, i) => `${i ? "L" : "M"}${p.px.toFixed(1)} ${p.py.toFixed(1)}`).join("") }));
      svg.push(group);
      if (k < 0) return;
      for (const p of mine) {
        const below = logy && p.y <= p.error ? bottom : py(p.y - p.error), above = py(p.y + p.error);
        if (p.error > 0) group.append(make("path", { class: "gw-error", d: `M${p.px} ${above}V${below}m-3 0h6M${p.px - 3} ${above}h6` }));
        group.append(make("path", { class: "gw-mark", d: MARKERS[k % 7], transform: `translate(${p.px} ${p.py})` }));
      }
      points.push(...mine);
    });
    const point = chosen && points.find((p) => p.line === chosen.line && p.i === chosen.i);
    tip.hidden = !point;
    plot.setAttribute("aria-valuemin", 1);
    plot.setAttribute("aria-valuemax", Math.max(1, points.length));
    plot.setAttribute("aria-valuenow", 1 + Math.max(0, points.indexOf(point)));
    plot.setAttribute("aria-valuetext", point ? said(point) : points.length ? "no point chosen" : "no curve shown");
    if (point) {
      svg.push(make("g", { class: `gw-chosen gw-c${point.k % 7}`, transform: `translate(${point.px} ${point.py})` },
        make("circle", { class: "gw-ring", r: 9 }), make("path", { d: MARKERS[point.k % 7] })));
      const pair = (name, value) => make("div", {}, make("span", {}, name), make("b", {}, value));
      tip.replaceChildren(make("strong", {}, point.line.label), pair(parts.xlabel, number(point.x)), pair(parts.ylabel, measured(point.y, point.error)));
      const side = point.px + 18 + tip.offsetWidth > w ? Math.max(0, point.px - 18 - tip.offsetWidth) : point.px + 18;
      const over = side < point.px - tip.offsetWidth || side > point.px + 9 ? point.py - tip.offsetHeight / 2 : point.py - tip.offsetHeight - 14;
      tip.style.transform = `translate(${side}px, ${Math.max(0, Math.min(h - tip.offsetHeight, over))}px)`;
    }
    scene.setAttribute("viewBox", `0 0 ${w} ${h}`);
    scene.replaceChildren(...svg);
    return drawn.filter((line) => !shown(line)).map((line) => `${line.label} hidden`).join(", ");
  });
  const said = (p) => `${p.line.label}, ${parts.xlabel} ${number(p.x)}, ${parts.ylabel} ${measured(p.y, p.error)}`;
  body.append(plot, legend);

  function choose(point) {
    chosen = point ?? null;
    schedule();
  }
  function pointed(event) {
    const box = plot.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    const far = (p) => Math.hypot(p.px - x, p.py - y), best = points.reduce((a, p) => (a && far(a) <= far(p) ? a : p), null);
    choose(best && far(best) < (event.pointerType === "mouse" ? 40 : 70) ? best : null);
  }
  plot.addEventListener("pointermove", pointed);
  plot.addEventListener("pointerdown", pointed);
  plot.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse" && !plot.matches(":focus-visible")) choose(null); });
  plot.addEventListener("blur", () => choose(null));
  plot.addEventListener("keydown", (event) => {
    const now = chosen && points.find((p) => p.line === chosen.line && p.i === chosen.i);
    const here = points.filter((p) => p.line === now?.line).sort((a, b) => a.px - b.px), at = here.indexOf(now);
    const order = lines.filter((line) => points.some((p) => p.line === line));
    const turn = (by) => {
      const line = order[(order.indexOf(now.line) + by + order.length) % order.length];
      return points.filter((p) => p.line === line).reduce((a, p) => (a && Math.abs(a.px - now.px) <= Math.abs(p.px - now.px) ? a : p), null);
    };
    const next = { ArrowRight: () => here[at + 1] ?? now, ArrowLeft: () => here[at - 1] ?? now, Home: () => here[0],
      End: () => here.at(-1), ArrowUp: () => turn(-1), ArrowDown: () => turn(1) }[event.key];
    if (event.key === "Escape") choose(null);
    if (!next || !points.length) return;
    event.preventDefault();
    event.stopPropagation(); // the arrow keys may turn the book's pages
    choose(now ? next() : points[0]);
  });
  return close;
}

export default { render };
