// What the widgets over stored results share: numbers, sliders with a play button,
// a sentence for who listens. Set after common.js, before frames.js or curves.js.

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "text", "g", "line", "circle"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// About `digits` significant digits, or `decimals` of them after the point; 10ⁿ where zeros would be counted.
export function number(value, digits = 4, decimals = null) {
  const size = Math.abs(value), minus = (text) => text.replace("-", "−");
  if (size >= 1e5 || (size > 0 && size < 1e-3 && !(decimals < 4 && decimals !== null))) {
    const [m, n] = value.toExponential(Math.max(0, digits - 1)).split("e");
    const power = [...String(+n)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("");
    return minus(Math.abs(+m) === 1 ? `${+m < 0 ? "-" : ""}10${power}` : `${+m}·10${power}`);
  }
  const text = decimals === null ? String(+value.toPrecision(digits)) : value.toFixed(decimals);
  return minus(text.replace(/^-(0\.?0*)$/, "$1"));
}

const ICONS = { play: "M4.5 2.5v11l9-5.5Z", pause: "M4 3h3v10h-3ZM9 3h3v10h-3Z", next: "M3 2.5v11l7-5.5ZM11 3h2.5v10h-2.5Z" };

// The card, its sliders, and all that makes it draw again. `draw` is called in the next frame when one of
// the `traits`, the size or the theme changed; what it returns is spoken once the reader's hand has come to rest.
function card(model, el, kind, traits, draw) {
  const root = make("div", { class: `gahb-widget gahb-${kind}`, role: "group", "aria-label": model.get("alt") });
  const body = make("div", { class: "gw-body" }), said = make("p", { class: "gw-said", "aria-live": "polite" });
  const names = model.get("names"), labels = model.get("labels");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let playing = -1, timer = 0, frame = 0, saying = 0, spoken = null;

  function move(i, to) {
    model.set("value", model.get("value").map((v, k) => (k === i ? to : v)));
    model.save_changes();
  }
  function stop() {
    clearInterval(timer);
    playing = -1;
    schedule();
  }
  function press(i) {
    const last = labels[i].length - 1, at = model.get("value")[i];
    if (still.matches) return move(i, at < last ? at + 1 : 0); // nothing moves by itself
    if (playing === i) return stop();
    stop();
    playing = i;
    if (at === last) move(i, 0);
    timer = setInterval(() => {
      const now = model.get("value")[i];
      if (now < last) move(i, now + 1);
      if (now + 1 >= last) stop();
    }, Math.max(120, Math.min(700, 5000 / (last + 1))));
  }
  const rows = names.map((name, i) => {
    const icon = make("path"), output = make("output");
    const button = make("button", { type: "button", class: "gw-play" }, make("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, icon));
    const input = make("input", { type: "range", min: 0, max: labels[i].length - 1, step: 1, "aria-label": name });
    button.disabled = input.disabled = labels[i].length < 2;
    button.addEventListener("click", () => press(i));
    input.addEventListener("input", () => { stop(); move(i, input.valueAsNumber); });
    input.addEventListener("keydown", (event) => { // the arrow keys may turn the book's pages
      if (event.key.startsWith("Arrow")) event.stopPropagation();
    });
    const row = make("div", { class: "gw-slider" }, button, make("label", {}, make("span", {}, name), output, input));
    return { row, icon, button, input, output };
  });

  function redraw() {
    frame = 0;
    root.dataset.theme = theme();
    const value = model.get("value");
    rows.forEach(({ icon, button, input, output }, i) => {
      const does = still.matches ? "next" : playing === i ? "pause" : "play", label = labels[i][value[i]];
      button.setAttribute("aria-label", `${does} ${names[i]}`);
      icon.setAttribute("d", ICONS[does]);
      input.value = value[i];
      input.setAttribute("aria-valuetext", output.textContent = label);
    });
    const where = names.map((name, i) => `${name} ${labels[i][value[i]]}`).join(", ");
    const position = value.reduce((p, v, i) => p * labels[i].length + v, 0);
    const sentence = [where, draw(position)].filter(Boolean).join(": ");
    clearTimeout(saying);
    if (spoken !== null && spoken !== sentence) saying = setTimeout(() => { said.textContent = spoken = sentence; }, 700);
    spoken ??= sentence; // not when the page opens
  }
  function schedule() {
    if (!frame) frame = requestAnimationFrame(redraw);
  }

  root.append(body, ...(rows.length ? [make("div", { class: "gw-sliders" }, ...rows.map((r) => r.row))] : []), said);
  for (const e of [root, ...root.querySelectorAll("input, button")]) e.setAttribute("data-lm-suppress-shortcuts", "true");
  el.append(root);
  for (const name of traits) model.on(`change:${name}`, schedule);
  const sized = new ResizeObserver(schedule), dressed = new MutationObserver(schedule);
  const options = { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light", "class"] };
  sized.observe(root);
  for (const node of [document.documentElement, document.body]) dressed.observe(node, options);
  const queries = [matchMedia("(prefers-color-scheme: dark)"), still];
  for (const query of queries) query.addEventListener("change", stop);
  schedule();

  function close() {
    for (const name of traits) model.off(`change:${name}`, schedule);
    for (const observer of [sized, dressed]) observer.disconnect();
    for (const query of queries) query.removeEventListener("change", stop);
    clearInterval(timer);
    clearTimeout(saying);
    cancelAnimationFrame(frame);
    root.remove();
  }
  return { body, schedule, close };
}
