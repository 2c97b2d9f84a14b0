// Stored pictures over sliders: each panel is a canvas of the picture's own
// pixels, enlarged by the style sheet without smoothing.

const NARROWEST = 110, WIDEST = 250, GAP = 14; // of a panel, in CSS pixels

// Inflate, and sum along each row (bytes wrap).
export async function unpack(view, width) {
  const levels = new Uint8Array(await inflated(view));
  for (let i = 0; i < levels.length; i++) if (i % width) levels[i] += levels[i - 1];
  return levels;
}

async function render({ model, el }) {
  const [, count, height, width] = model.get("shape"), titles = model.get("titles"), captions = model.get("captions");
  const signed = new Set(model.get("signed")), size = width * height, shown = model.get("shown");
  const levels = await unpack(model.get("pixels"), width), tables = { grey: grey(), signed: diverging() };
  const panels = Array.from({ length: count }, (_, k) => {
    const canvas = make("canvas", { width, height, role: "img" }), text = make("p", { class: "gw-caption" });
    const title = make("p", { class: "gw-title" }, titles[k] ?? "");
    const node = make("div", { class: "gw-panel" }, ...(titles.length ? [title] : []), canvas, ...(captions.length ? [text] : []));
    return { node, canvas, text, context: canvas.getContext("2d"), image: new ImageData(width, height) };
  });
  const room = (columns) => (body.clientWidth + GAP) / columns - GAP;
  function arrange() { // rows as equal as can be, at least two panels a row; pixels that all look alike
    let columns = count;
    while (columns > 2 && room(columns) < NARROWEST) columns--;
    columns = Math.ceil(count / Math.ceil(count / columns));
    const wide = Math.min(WIDEST, room(columns)), ratio = window.devicePixelRatio || 1;
    const enlarged = wide * ratio / width, shown = enlarged < 4 ? wide : Math.floor(enlarged + 1e-6) * width / ratio;
    body.style.gridTemplateColumns = `repeat(${columns}, ${wide}px)`;
    for (const { canvas } of panels) canvas.style.width = `${shown}px`;
  }
  const name = (k) => titles[k] || `picture ${k + 1}`;

  const { body, close } = card(model, el, "frames", ["value"], (position) => {
    arrange();
    panels.forEach(({ canvas, text, context, image }, k) => {
      const table = signed.has(k) ? tables.signed : tables.grey, start = shown[position * count + k] * size;
      const pixels = new Uint32Array(image.data.buffer);
      for (let i = 0; i < size; i++) pixels[i] = table[levels[start + i]];
      context.putImageData(image, 0, 0);
      text.textContent = captions[position]?.[k] ?? "";
      canvas.setAttribute("aria-label", [name(k), text.textContent].filter(Boolean).join(", "));
    });
    return panels.map(({ text }, k) => text.textContent && `${name(k)} ${text.textContent}`).filter(Boolean).join("; ");
  });
  body.append(...panels.map((panel) => panel.node));
  const place = model.get("place");
  if (place.length) { // a pixel that is pointed at sets the sliders of its row and column
    const at = place.map((i) => model.get("labels")[i].map(Number));
    const nearest = (values, wanted) => values.reduce((best, v, i) => (Math.abs(v - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);
    function point(event) {
      const box = event.currentTarget.getBoundingClientRect(), value = [...model.get("value")];
      value[place[0]] = nearest(at[0], (event.clientY - box.top) / box.height * height - 0.5);
      value[place[1]] = nearest(at[1], (event.clientX - box.left) / box.width * width - 0.5);
      model.set("value", value);
      model.save_changes();
    }
    for (const { canvas } of panels) {
      canvas.classList.add("gw-place");
      canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); point(event); });
      canvas.addEventListener("pointermove", (event) => { if (event.buttons & 1) point(event); });
    }
  }
  if (signed.size) { // the scale of the signed panels
    const limit = number(model.get("limit"), 2), bar = make("span", { class: "gw-bar", "aria-hidden": "true" });
    bar.style.background = `linear-gradient(to right, ${STOPS.map((s) => `#${s}`)})`;
    body.after(make("p", { class: "gw-scale" }, `−${limit}`, bar, limit));
  }
  return close;
}

export default { render };
