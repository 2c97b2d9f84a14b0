// A blind denoiser that runs in the page: pictures with noise, what the network makes of them, the filter of a
// pixel (a row of its Jacobian), its leading eigenvectors, and the reverse diffusion. After common.js (inflated),
// sliders.js (card, make, number), colours.js (diverging, grey), unet.js (Unet), spectrum.js (leading, normal), psnr.js.

const LOW = 0.01, HIGH = 1; // noise levels that the slider and the diffusion run between
const VECTORS = 12, SLICE = 24; // eigenvectors looked for; milliseconds of work between two frames
const STEP = 0.2, KEPT = 0.05, MOST = 1000; // of the diffusion: h, β, and the steps after which it is given up

// One step of the stochastic reverse diffusion (Kadkhodaie & Simoncelli 2021) from y and x = f(y); σ is what the
// residual says. `noise` may be null where beta is 1.
export function onward(y, x, noise, h = STEP, beta = KEPT) {
  const sigma = rms(x, y), gain = Math.sqrt(Math.max(0, (1 - beta * h) ** 2 - (1 - h) ** 2)) * sigma;
  return y.map((v, i) => v + h * (x[i] - v) + (noise ? gain * noise[i] : 0));
}

export function rms(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return Math.sqrt(sum / a.length);
}

// What the networks and pictures are, out of the model: [{ label, size, …, network() → Unet, pictures: [Float32Array] }].
export async function unpacked(model) {
  const [weights, bytes] = await Promise.all([inflated(model.get("weights")), inflated(model.get("pictures"))]);
  let at = 0, from = 0;
  return model.get("networks").map((about) => {
    const state = new Float32Array(weights, 4 * at, about.floats), d = about.size ** 2;
    const pictures = model.get("picture_names").map((_, i) => Float32Array.from(new Uint8Array(bytes, from + i * d, d), (v) => v / 255));
    at += about.floats, from += pictures.length * d;
    let made = null;
    return { ...about, pictures, network: () => (made ??= Unet.make(state, about)) };
  });
}

// Any picture on n × n pixels: the middle square, its grey levels (Rec. 601) in [0, 1].
function squared(image, width, height, n) {
  const side = Math.min(width, height), canvas = make("canvas", { width: n, height: n });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  Object.assign(context, { fillStyle: "#fff", imageSmoothingQuality: "high" });
  context.fillRect(0, 0, n, n); // below what is transparent
  context.drawImage(image, (width - side) / 2, (height - side) / 2, side, side, 0, 0, n, n);
  const { data } = context.getImageData(0, 0, n, n);
  return Float32Array.from({ length: n * n }, (_, i) => (0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]) / 255);
}

function paint(canvas, values, table, level) {
  const n = Math.sqrt(values.length);
  if (canvas.width !== n) Object.assign(canvas, { width: n, height: n });
  const image = new ImageData(n, n), pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[Math.min(255, Math.max(0, Math.round(level(values[i]))))];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

async function render({ model, el }) {
  const networks = await unpacked(model), names = model.get("picture_names");
  await networks[model.get("network")].network(); // fails here, before anything is shown, where there is no WebAssembly
  const tables = { grey: grey(), signed: diverging() };
  let own = null; // the picture that the reader has loaded, painted or made, shown where `picture` is -1: { size, x }
  let making = false, path = [], at = 0, running = false, fork = 0; // the diffusion: whether it is shown, its y's, where
  let now = null, ready = null, seed = 0, solving = null, basis = null, tick = 0, closed = false, painted = 0;

  const about = () => networks[model.get("network")];
  const level = () => Math.min(HIGH, Math.max(LOW, model.get("sigma")));
  const put = (changes) => { for (const [name, value] of Object.entries(changes)) model.set(name, value); model.save_changes(); };

  // ---------------------------------------------------------------- its parts
  const button = (label, press, more = {}) => {
    const node = make("button", { type: "button", class: "gl-button", ...more }, label);
    node.addEventListener("click", press);
    return node;
  };
  let groups = 0;
  const choice = (legend, options, pick) => { // radio buttons that look like one bar
    const group = `gl-${Math.random().toString(36).slice(2)}-${groups++}`;
    const inputs = options.map((_, i) => make("input", { type: "radio", name: group, value: i }));
    const node = make("fieldset", { class: "gl-choice" }, make("legend", { class: "gw-said" }, legend),
      ...options.map((option, i) => make("label", {}, inputs[i], make("span", {}, option))));
    inputs.forEach((input, i) => {
      input.addEventListener("change", () => pick(i));
      input.addEventListener("keydown", (event) => { if (event.key.startsWith("Arrow")) event.stopPropagation(); });
    });
    return { node, show: (i) => inputs.forEach((input, k) => { input.checked = k === i; }) };
  };
  const slider = (label, attributes, move) => {
    const output = make("output"), input = make("input", { type: "range", "aria-label": label, ...attributes });
    input.addEventListener("input", () => move(input.valueAsNumber));
    input.addEventListener("keydown", (event) => { if (event.key.startsWith("Arrow")) event.stopPropagation(); });
    return { node: make("label", { class: "gl-slider" }, make("span", {}, label), output, input), input, output };
  };
  const panel = (title, tool = null) => { // a picture with a ring, which pointer and keys move where it is a tool
    const canvas = make("canvas", { role: "img" }), ring = make("span", { class: "gl-ring", "aria-hidden": "true" }), pane = make("span", { class: "gl-pane" });
    const head = make("p", { class: "gl-title" }, title), caption = make("p", { class: "gl-caption" });
    const frame = make("div", { class: "gl-frame" }, canvas, pane, ring);
    if (tool) for (const [k, v] of Object.entries({ tabindex: 0, role: "application", "aria-label": tool })) frame.setAttribute(k, v);
    return { node: make("div", { class: "gl-panel" }, head, frame, caption), canvas, ring, pane, frame, caption, head };
  };

  const which = choice("network", networks.map((n) => n.label), (i) => chosen({ network: i }));
  const what = choice("what to do", ["denoise a picture", "make one from noise"], (i) => { trouble.textContent = ""; pause(); making = i === 1; schedule(); });
  const thumbs = names.map((name, i) => {
    const canvas = make("canvas", { "aria-hidden": "true" });
    return { canvas, node: button(canvas, () => chosen({ picture: i }), { class: "gl-thumb", "aria-label": name, title: name }) };
  });
  const file = make("input", { type: "file", accept: "image/*", class: "gw-said", "aria-label": "a picture of your own; it stays on this machine" });
  const yours = make("label", { class: "gl-button gl-file" }, file, "your own …");
  const pictures = make("div", { class: "gl-row gl-pictures", role: "group", "aria-label": "pictures" }, ...thumbs.map((t) => t.node), yours);
  const sigma = slider("noise level σ", { min: Math.log10(LOW), max: Math.log10(HIGH), step: 0.01 }, (v) => put({ sigma: +(10 ** v).toPrecision(4) }));
  const again = button("other noise", () => { seed++; schedule(); });
  const noising = make("div", { class: "gl-row" }, sigma.node, again);
  const go = button("start", () => (running ? pause() : start()), { class: "gl-button gl-main" });
  const anew = button("from other noise", () => { begin(); start(); });
  const steps = slider("step", { min: 0, max: 0, step: 1, value: 0 }, (v) => { pause(); at = v; schedule(); });
  const keep = button("denoise this one", () => { if (!now) return; mine(now.f.slice()); making = false; pause(); });
  const diffusing = make("div", { class: "gl-row" }, go, anew, steps.node, keep);

  const clean = panel("clean picture x", "clean picture: arrow keys move the pen, space paints");
  const noisy = panel("noisy picture y", "noisy picture: arrow keys choose a pixel");
  const denoised = panel("denoised f(y)", "denoised picture: arrow keys choose a pixel");
  const filter = panel("filter of the pixel");
  const pen = choice("pen", ["dark pen", "light pen"], (i) => { pen.light = i === 1; pen.show(i); });
  pen.show(0);
  clean.node.append(pen.node);
  clean.node.classList.add("gl-pen"), filter.node.classList.add("gl-filter");
  for (const p of [noisy, denoised]) p.node.classList.add("gl-seen");
  const solve = button("find them", () => { if (solving) halt(), schedule(); else seek(); });
  const bar = make("progress", { max: 1, value: 0, "aria-label": "progress of the eigenvectors" }), told = make("p", { class: "gl-caption gl-told" });
  const vectors = Array.from({ length: VECTORS }, () => ({ canvas: make("canvas", { role: "img" }), text: make("span") }));
  const grid = make("div", { class: "gl-vectors" }, ...vectors.map((v) => make("div", {}, v.canvas, v.text)));
  const inside = make("div", { class: "gl-inside" }, make("p", { class: "gl-title" }, "what it keeps best: leading eigenvectors"),
    make("div", { class: "gl-row" }, solve, bar), told, grid);
  const panels = make("div", { class: "gl-panels" }, clean.node, noisy.node, denoised.node, filter.node, inside);
  const plot = make("svg", { class: "gl-plot", viewBox: "0 0 640 190", role: "img" }), foot = make("p", { class: "gl-foot" });
  const trouble = make("p", { class: "gl-trouble", role: "alert" });

  // ---------------------------------------------------------------- what is computed
  const chosen = (change) => { trouble.textContent = ""; put(change); };
  const mine = (x) => { own = { size: about().size, x }; put({ picture: -1 }); painted++; schedule(); };
  const picture = () => {
    const net = about(), i = model.get("picture");
    if (!own || i >= 0) return net.pictures[Math.max(0, i)] ?? net.pictures[0];
    if (own.size !== net.size) own.shown ??= resized(own.x, net.size); // of the first, however often the size changes
    return own.size === net.size ? own.x : own.shown;
  };
  function resized(x, n) {
    const canvas = make("canvas");
    paint(canvas, x, tables.grey, (v) => 255 * v);
    return squared(canvas, canvas.width, canvas.width, n);
  }
  const nib = () => (pen.at ?? [about().size >> 1, about().size >> 1]).map((v) => Math.min(about().size - 1, v));
  const point = () => {
    const n = about().size, [r, c] = model.get("pixel");
    return [r, c].map((v) => Math.min(n - 1, Math.max(0, v)));
  };

  // y, f(y) and the filter, if they are not those of `now`
  function compute(network) {
    const net = about(), key = making ? ["path", at, path[at]] : [seed, level(), painted, picture()];
    if (!now || now.net !== net || key.some((v, i) => v !== now.key[i])) {
      halt();
      const d = net.size ** 2, x = making ? null : picture(), z = making ? null : normal(d, seed);
      const y = making ? path[at] : x.map((v, i) => v + level() * z[i]);
      const f = timed(net, network, y);
      now = { net, key, x, y, f, spot: null };
      basis = null;
    }
    const [r, c] = point();
    if (now.spot?.[0] !== r || now.spot[1] !== c) {
      const unit = new Float32Array(net.size ** 2);
      unit[r * net.size + c] = 1;
      Object.assign(now, { spot: [r, c], row: network.transposed(unit) });
    }
  }

  function timed(net, network, y) {
    const began = performance.now(), f = network.forward(y);
    net.took = Math.min(net.took ?? Infinity, performance.now() - began);
    return f;
  }
  function warm(net, network) { // the browser compiles what runs often into something faster
    if (closed || running || solving || now?.net !== net) return;
    for (let n = 0; n < 4; n++) timed(net, network, now.y);
    schedule();
  }

  function begin() { // a path that starts from noise around mid-grey
    const d = about().size ** 2;
    seed++;
    path = [normal(d, seed).map((z) => 0.5 + HIGH * z)], at = 0;
    path.net = about();
  }
  async function start() {
    const network = await about().network(), d = about().size ** 2;
    if (path.net !== about()) begin();
    if (at && at === path.length - 1 && path.done) begin();
    path.length = at + 1, path.done = false, fork++;
    if (running) return;
    running = true;
    halt();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches; // then it is made at once, to be stepped through
    const one = () => {
      const y = path[at], f = now?.net === path.net && now.y === y ? now.f : network.forward(y);
      if (now?.y !== y) now = null; // its masks are gone
      if (rms(f, y) <= LOW || path.length > MOST) { path.done = true; return pause(); }
      path.push(onward(y, f, normal(d, 7919 * fork + 104729 * seed + at)));
      at++;
    };
    const frame = () => {
      if (!running || closed) return;
      const until = performance.now() + SLICE;
      do one(); while (still && running && performance.now() < until);
      if (!still || !running) schedule();
      tick = requestAnimationFrame(frame);
    };
    tick = requestAnimationFrame(frame);
    schedule();
  }
  function pause() {
    running = false;
    cancelAnimationFrame(tick);
    schedule();
  }

  async function seek() {
    if (!now) return;
    const network = await about().network(), { y } = now, token = solving = {};
    const half = (v) => {
      const right = network.product(v), left = network.transposed(v);
      return right.map((value, i) => (value + left[i]) / 2);
    };
    const search = leading(half, y.length, VECTORS);
    const began = performance.now();
    const slice = () => {
      if (solving !== token || closed) return;
      if (now?.y !== y) return halt();
      const until = performance.now() + SLICE;
      let state;
      do state = search.next().value; while (state && !state.done && performance.now() < until);
      basis = { ...state, seconds: (performance.now() - began) / 1000 };
      if (state.done) solving = null;
      else setTimeout(slice);
      schedule();
    };
    pause();
    slice();
  }
  function halt() {
    solving = null;
  }

  // ---------------------------------------------------------------- what is drawn
  function arrange(n) { // pixels that all look alike
    const ratio = window.devicePixelRatio || 1, wide = denoised.node.clientWidth;
    const shown = Math.max(1, Math.floor(wide * ratio / n)) * n / ratio;
    for (const p of [clean, noisy, denoised, filter]) p.frame.style.width = `${shown}px`; // the filter's are twice as large
  }

  function draw() {
    const net = about();
    if (ready?.net !== net) {
      if (ready?.waits !== net) {
        ready = { waits: net };
        net.network().then((network) => { ready = { net, network }; schedule(); for (const ms of [400, 1200]) setTimeout(() => warm(net, network), ms); }, (error) => { trouble.textContent = `This browser cannot run the network: ${error.message}`; });
      }
      return "";
    }
    if (making && path.net !== net) { pause(); begin(); }
    compute(ready.network);
    const n = net.size, [r, c] = point(), { x, y, f, row } = now;
    which.show(model.get("network"));
    what.show(+making);
    pictures.hidden = noising.hidden = clean.node.hidden = making;
    diffusing.hidden = !making;
    panels.classList.toggle("gl-making", making);
    arrange(n);
    thumbs.forEach(({ canvas, node }, i) => {
      if (canvas.net !== net) { paint(canvas, net.pictures[i], tables.grey, (v) => 255 * v); canvas.net = net; }
      node.setAttribute("aria-pressed", String(i === model.get("picture")));
    });
    yours.classList.toggle("gl-own", own !== null && model.get("picture") < 0);
    const light = (v) => 255 * v;
    if (x) paint(clean.canvas, x, tables.grey, light);
    paint(noisy.canvas, y, tables.grey, light);
    paint(denoised.canvas, f, tables.grey, light);
    const most = row.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-12);
    const near = n / 2, corner = [r, c].map((v) => Math.min(n - near, Math.max(0, v - near / 2))); // the filter around its pixel
    const part = Float32Array.from({ length: near * near }, (_, i) => row[(corner[0] + Math.floor(i / near)) * n + corner[1] + i % near]);
    const end = Math.max(most / 8, Float32Array.from(part, Math.abs).sort()[Math.floor(0.985 * part.length)]); // of the colours
    paint(filter.canvas, part, tables.signed, (v) => 128 + 127 * v / end);
    mark(filter, [r - corner[0], c - corner[1]], near);
    for (const p of [noisy, denoised]) {
      mark(p, [r, c], n);
      p.pane.style.top = `${100 * corner[0] / n}%`, p.pane.style.left = `${100 * corner[1] / n}%`;
    }
    mark(clean, nib(), n);

    const guess = rms(f, y), said = [];
    if (making) {
      head(noisy, "y, on its way"), head(denoised, "f(y), its guess");
      noisy.caption.textContent = `σ = ${number(guess, 2)}, read off by the network`;
      denoised.caption.textContent = at === 0 && !running ? "press start" : !path.done || at < path.length - 1 ? "" : guess <= LOW ? "there: nothing left to remove" : "it does not come to rest";
      steps.input.max = path.length - 1, steps.input.value = at;
      steps.input.disabled = path.length < 2;
      steps.output.textContent = `${at} of ${path.length - 1}`;
      steps.input.setAttribute("aria-valuetext", `step ${at}, sigma ${number(guess, 2)}`);
      go.textContent = running ? "stop" : at === 0 ? "start" : at < path.length - 1 ? "another ending from here" : path.done ? "start again" : "go on";
      keep.disabled = running;
      said.push(`step ${at}, sigma ${number(guess, 2)}`);
    } else {
      const before = decibels(rms(x, y)), after = decibels(rms(x, f));
      head(noisy, "noisy picture y"), head(denoised, "denoised f(y)");
      noisy.caption.textContent = `PSNR ${decimals(before)} dB`;
      denoised.caption.textContent = `PSNR ${decimals(after)} dB`;
      sigma.input.value = Math.log10(level());
      sigma.output.textContent = number(level(), 2);
      sigma.input.setAttribute("aria-valuetext", number(level(), 2));
      said.push(`sigma ${number(level(), 2)}: noisy ${decimals(before)} decibels, denoised ${decimals(after)} decibels`);
    }
    const total = row.reduce((s, v) => s + v, 0);
    filter.caption.textContent = `weights up to ${number(most, 2)}, sum ${number(total, 2, 2)}; colours end at ±${number(end, 2)}`;
    said.push(`filter of row ${r + 1}, column ${c + 1}: largest weight ${number(most, 2)}, sum ${number(total, 2, 2)}`);
    for (const [p, name] of [[clean, "clean picture"], [noisy, "noisy picture"], [denoised, "denoised picture"], [filter, `filter of row ${r + 1}, column ${c + 1}`]]) {
      p.canvas.setAttribute("aria-label", [name, p.caption.textContent].filter(Boolean).join(", "));
    }
    drawBasis();
    drawPsnr(plot, net.curves, making ? null : [level(), decibels(rms(x, f))], LOW, HIGH);
    foot.textContent = `${net.parameters.toLocaleString("en")} numbers, ${n}×${n} pixels; f(y) takes ${number(net.took, 2)} ms in this browser, at best.`;
    root.dataset.ready = "";
    return said.join("; ");
  }
  function head({ head }, text) { if (head.textContent !== text) head.textContent = text; }
  function mark({ ring }, [r, c], n) { ring.style.top = `${100 * (r + 0.5) / n}%`, ring.style.left = `${100 * (c + 0.5) / n}%`; }

  function drawBasis() {
    bar.hidden = !solving;
    bar.value = basis?.progress ?? 0;
    solve.textContent = solving ? "stop" : basis?.done ? "again" : "find them";
    grid.hidden = !basis?.vectors;
    if (!basis) told.textContent = "directions e of pixel space with ∇f(y) e ≈ λ e, found by products with the Jacobian alone";
    else if (!basis.done) told.textContent = solving ? `${basis.products} products …` : `stopped after ${basis.products} products`;
    else told.textContent = `${basis.products} products with ∇f and its transpose, ${number(basis.seconds, 2)} s; |∇f e − λe| ≤ ${number(Math.max(...basis.residuals), 1)} in the symmetric part`;
    basis?.vectors?.forEach((vector, i) => {
      const most = Float64Array.from(vector, Math.abs).sort()[Math.floor(0.99 * vector.length)] || 1e-12, sign = Math.sign(vector.reduce((s, v) => s + v, 0)) || 1;
      paint(vectors[i].canvas, vector, tables.signed, (v) => 128 + 127 * sign * v / most);
      vectors[i].text.textContent = number(basis.values[i], 4, 3);
      vectors[i].canvas.setAttribute("aria-label", `eigenvector ${i + 1}, eigenvalue ${vectors[i].text.textContent}`);
    });
  }

  // ---------------------------------------------------------------- the reader's hand
  const steer = (p, choose, press) => { // by pointer and by keys
    const { frame, canvas } = p;
    const place = (event) => {
      const box = canvas.getBoundingClientRect(), n = about().size;
      return [event.clientY - box.y, event.clientX - box.x].map((v, i) => Math.min(n - 1, Math.max(0, Math.floor(v / (i ? box.width : box.height) * n))));
    };
    let held = null;
    frame.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      held = event.pointerId;
      frame.setPointerCapture(held);
      choose(place(event)), press?.();
    });
    frame.addEventListener("pointermove", (event) => { if (event.pointerId === held) choose(place(event)), press?.(); });
    for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, () => { held = null; });
    frame.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (press && (event.key === " " || event.key === "Enter")) event.preventDefault(), press();
      if (!way) return;
      event.preventDefault();
      event.stopPropagation(); // the arrow keys may turn the book's pages
      const n = about().size, from = press ? nib() : point();
      choose(from.map((v, i) => Math.min(n - 1, Math.max(0, v + way[i] * (event.shiftKey ? 5 : 1)))));
    });
  };
  for (const p of [noisy, denoised]) steer(p, (spot) => put({ pixel: spot }));
  steer(clean, (spot) => { pen.at = spot; schedule(); }, () => {
    const net = about(), n = net.size, reach = n / 26, [r, c] = nib();
    const x = picture().slice();
    for (let i = 0; i < n; i++) {
      for (let k = 0; k < n; k++) {
        const cover = Math.min(1, Math.max(0, reach + 0.5 - Math.hypot(i - r, k - c)));
        if (cover) x[i * n + k] += cover * ((pen.light ? 0.95 : 0.08) - x[i * n + k]);
      }
    }
    mine(x);
  });
  file.addEventListener("change", async () => {
    const [given] = file.files;
    if (!given) return;
    try {
      const image = await createImageBitmap(given);
      trouble.textContent = "";
      mine(squared(image, image.width, image.height, about().size));
    } catch {
      trouble.textContent = `${given.name} is not a picture that this browser can read.`;
    } finally { file.value = ""; }
  });

  const { body, schedule, close } = card(model, el, "live", ["network", "picture", "sigma", "pixel"], draw);
  const root = body.parentElement;
  body.append(make("div", { class: "gl-row gl-top" }, ...(networks.length > 1 ? [which.node] : []), what.node), pictures, trouble, noising, diffusing, panels, plot, foot);
  for (const e of root.querySelectorAll("input, button, [tabindex]")) e.setAttribute("data-lm-suppress-shortcuts", "true");
  return () => { closed = true; pause(); halt(); close(); };
}

export default { render };
