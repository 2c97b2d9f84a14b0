// A two-dimensional Gaussian mixture under Gaussian noise: density of the noisy
// variable, posterior mean, score and Jacobian, in float64. After common.js (theme, roundStep).
// The functions above `render` are pure; the tests compare them with numpy.

// ---------------------------------------------------------------- the numbers

// Eigenvalues (descending, clamped at 0) and the first eigenvector of a symmetric 2×2 matrix.
export function eigen(a, b, c) {
  const half = (a - c) / 2, r = Math.hypot(half, b), mid = (a + c) / 2;
  const angle = 0.5 * Math.atan2(b, half);
  return { values: [Math.max(0, mid + r), Math.max(0, mid - r)], u: [Math.cos(angle), Math.sin(angle)] };
}

// Each component in its own principal axes: degenerate covariances need no special case.
export function prepare(weights, means, covariances) {
  return weights.map((w, k) => {
    const [[a, b], [, c]] = covariances[k];
    return { logw: Math.log(w), mean: means[k], ...eigen(a, b, c) };
  });
}

// log w_k N(y; mu_k, C_k + sigma² Id), and y − mu_k in the component's axes.
function logTerm({ logw, mean, values, u }, y, s2) {
  const dx = y[0] - mean[0], dy = y[1] - mean[1];
  const p = u[0] * dx + u[1] * dy, q = u[0] * dy - u[1] * dx;
  const v = values[0] + s2, w = values[1] + s2;
  return { log: logw - Math.log(2 * Math.PI) - 0.5 * (Math.log(v * w) + p * p / v + q * q / w), p, q, v, w };
}

// log p_sigma(y), E[x|y], the score, Cov[x|y], and the Jacobian Cov[x|y]/sigma² of the posterior mean.
export function posterior(mix, y, sigma) {
  const s2 = sigma * sigma, terms = mix.map((m) => logTerm(m, y, s2));
  const top = Math.max(...terms.map((t) => t.log));
  const total = terms.reduce((sum, t) => sum + Math.exp(t.log - top), 0);
  const logp = top + Math.log(total);
  const r = terms.map((t) => Math.exp(t.log - logp));
  const score = [0, 0];
  const shift = terms.map((t, k) => { // (C_k + sigma² Id)^-1 (mu_k − y): the component's own score
    const { u } = mix[k], p = -t.p / t.v, q = -t.q / t.w;
    const g = [u[0] * p - u[1] * q, u[1] * p + u[0] * q];
    score[0] += r[k] * g[0];
    score[1] += r[k] * g[1];
    return g;
  });
  // J = sum r_k C_k (C_k + sigma² Id)^-1 + sigma² Cov_r(component scores)
  let a = 0, b = 0, c = 0;
  terms.forEach((t, k) => {
    const { u, values } = mix[k], l = values[0] / t.v, n = values[1] / t.w;
    const gx = shift[k][0] - score[0], gy = shift[k][1] - score[1];
    a += r[k] * (l * u[0] * u[0] + n * u[1] * u[1] + s2 * gx * gx);
    b += r[k] * ((l - n) * u[0] * u[1] + s2 * gx * gy);
    c += r[k] * (l * u[1] * u[1] + n * u[0] * u[0] + s2 * gy * gy);
  });
  const { values, u } = eigen(a, b, c);
  return {
    logp, score, responsibilities: r,
    mean: [y[0] + s2 * score[0], y[1] + s2 * score[1]],
    jacobian: [[a, b], [b, c]], eigenvalues: values, axis: u,
    covariance: [[s2 * a, s2 * b], [s2 * b, s2 * c]],
    trace: a + c, mse: s2 * (a + c),
  };
}

// log p_sigma at the centres of nx × ny cells, rows from the top; and the largest value met there or at a mean.
export function logDensity(mix, sigma, [x0, x1, y0, y1], nx, ny) {
  const s2 = sigma * sigma, out = new Float64Array(nx * ny), term = new Float64Array(mix.length);
  const parts = mix.map(({ logw, mean, values, u }) => {
    const v = values[0] + s2, w = values[1] + s2;
    return { mx: mean[0], my: mean[1], ux: u[0], uy: u[1], v: -0.5 / v, w: -0.5 / w,
      c: logw - Math.log(2 * Math.PI) - 0.5 * Math.log(v * w) };
  });
  const at = (x, y) => {
    let top = -Infinity, sum = 0;
    for (let k = 0; k < parts.length; k++) {
      const m = parts[k], dx = x - m.mx, dy = y - m.my;
      const p = m.ux * dx + m.uy * dy, q = m.ux * dy - m.uy * dx;
      term[k] = m.c + p * p * m.v + q * q * m.w;
      if (term[k] > top) top = term[k];
    }
    for (let k = 0; k < parts.length; k++) if (term[k] > top - 40) sum += Math.exp(term[k] - top);
    return top + Math.log(sum);
  };
  let max = Math.max(...mix.map((m) => at(...m.mean)));
  for (let j = 0, i = 0; j < ny; j++) {
    const y = y1 - (y1 - y0) * (j + 0.5) / ny;
    for (let k = 0; k < nx; k++, i++) {
      out[i] = at(x0 + (x1 - x0) * (k + 0.5) / nx, y);
      if (out[i] > max) max = out[i];
    }
  }
  return { values: out, max };
}

// ---------------------------------------------------------------- the picture

const CELLS = 150; // along the longer side
const POWER = 0.25; // shade = (p / max p)^POWER: keeps a broad component visible beside a sharp one
const RINGS = [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]; // contours where p = max p · exp(−ring²/2)
const RAMPS = { // one hue, light to dark and dark to light
  light: [[253, 253, 251], [222, 235, 241], [170, 206, 222], [122, 176, 203], [84, 144, 180]],
  dark: [[19, 24, 30], [24, 44, 60], [30, 72, 97], [44, 107, 138], [82, 152, 182]],
};

function paintDensity(canvas, grid, nx, ny, ramp, ink) {
  const table = Uint32Array.from({ length: 512 }, (_, i) => { // opaque pixels, bytes from the low end: r g b a
    const x = i / 511 * (ramp.length - 1), n = Math.min(ramp.length - 2, Math.floor(x));
    const [r, g, b] = ramp[n].map((c, m) => Math.round(c + (x - n) * (ramp[n + 1][m] - c)));
    return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
  });
  const small = document.createElement("canvas"), image = new ImageData(nx, ny);
  Object.assign(small, { width: nx, height: ny });
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[Math.round(511 * Math.exp(POWER * (grid.values[i] - grid.max)))];
  small.getContext("2d").putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  context.strokeStyle = ink;
  context.lineWidth = Math.max(1, canvas.width / 640);
  context.beginPath();
  contours(context, grid.values, nx, ny, RINGS.map((ring) => grid.max - ring * ring / 2), canvas);
  context.stroke();
}

// Marching squares: in each cell, join the edges where the values cross a level.
function contours(context, values, nx, ny, levels, { width, height }) {
  const sx = width / nx, sy = height / ny;
  for (let j = 0; j + 1 < ny; j++) {
    for (let i = 0; i + 1 < nx; i++) {
      const o = j * nx + i, p = values[o], q = values[o + 1], r = values[o + nx + 1], s = values[o + nx];
      const least = Math.min(p, q, r, s), most = Math.max(p, q, r, s);
      for (const level of levels) {
        if (least > level || most <= level) continue;
        const a = p - level, b = q - level, c = r - level, d = s - level, points = []; // clockwise
        if ((a > 0) !== (b > 0)) points.push(i + a / (a - b), j);
        if ((b > 0) !== (c > 0)) points.push(i + 1, j + b / (b - c));
        if ((c > 0) !== (d > 0)) points.push(i + d / (d - c), j + 1);
        if ((d > 0) !== (a > 0)) points.push(i, j + a / (a - d));
        for (let n = 0; n + 3 < points.length; n += 4) {
          context.moveTo((points[n] + 0.5) * sx, (points[n + 1] + 0.5) * sy);
          context.lineTo((points[n + 2] + 0.5) * sx, (points[n + 3] + 0.5) * sy);
        }
      }
    }
  }
}

// The outline of an arrow from (x, y) along (dx, dy), in pixels.
function arrow(x, y, dx, dy, shaft, head) {
  const length = Math.hypot(dx, dy);
  if (length < 0.5) return "";
  const h = Math.min(head, 0.7 * length), wide = 0.45 * h, thin = Math.min(shaft, wide) / 2;
  const ux = dx / length, uy = dy / length, base = length - h;
  const at = (along, across) => `${(x + ux * along - uy * across).toFixed(1)} ${(y + uy * along + ux * across).toFixed(1)}`;
  return `M${at(0, thin)}L${at(base, thin)}L${at(base, wide)}L${at(length, 0)}` +
    `L${at(base, -wide)}L${at(base, -thin)}L${at(0, -thin)}Z`;
}

function number(value, digits = 2) {
  if (Math.abs(value) >= 1e4) return value.toExponential(1).replace("-", "−").replace("e+", "e");
  return value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1").replace("-", "−");
}
const pair = (v) => `(${number(v[0])}, ${number(v[1])})`;

const ellipse = 'cx="11" cy="8" rx="10" ry="5.5"';
const TEMPLATE = `
  <div class="gm-body">
    <div class="gm-plot">
      <canvas aria-hidden="true"></canvas>
      <svg class="gm-ticks" aria-hidden="true"></svg>
      <div class="gm-handle" role="slider" tabindex="0" aria-label="noisy point y; the arrow keys move it, with Shift in larger steps"></div>
      <svg class="gm-scene" role="img" aria-label="Density of the noisy point, with the noisy point y, its denoised estimate and the posterior covariance ellipse">
        <path class="gm-clean"></path><path class="gm-field"></path>
        <circle class="gm-noise"></circle><path class="gm-axes"></path><ellipse class="gm-ellipse"></ellipse>
        <path class="gm-step"></path><circle class="gm-dot" r="7"></circle><circle class="gm-mean" r="4.5"></circle>
        <text class="gm-label gm-label-y"><tspan>y</tspan></text>
        <text class="gm-label gm-label-f"><tspan>f</tspan>*(<tspan>y</tspan>)</text>
      </svg>
    </div>
    <div class="gm-panel">
      <label class="gm-control"><span>noise level <i>σ</i></span><output class="gm-sigma"></output>
        <input type="range" class="gm-input-sigma" step="any" aria-label="noise level sigma, logarithmic"></label>
      <div class="gm-row">${[0, 1].map((i) => `
        <label class="gm-control"><span><i>y</i><sub>${i + 1}</sub></span><output class="gm-y${i}"></output>
          <input type="range" class="gm-input-y${i}" step="any" aria-label="coordinate ${i + 1} of the noisy point y"></label>`).join("")}
      </div>
      <dl>
        <div><dt>denoised <i>f</i>*(<i>y</i>)</dt><dd class="gm-f"></dd></div>
        <div><dt>score ∇log <i>p<sub>σ</sub></i>(<i>y</i>)</dt><dd class="gm-score"></dd></div>
        <div><dt>squared error <i>σ</i>² tr ∇<i>f</i>*(<i>y</i>)</dt><dd class="gm-mse"></dd></div>
        <div><dt>eigenvalues of ∇<i>f</i>*(<i>y</i>)</dt><dd class="gm-eigen"></dd></div>
        <div><dt>effective dimension tr ∇<i>f</i>*</dt><dd class="gm-trace"></dd></div>
        <div class="gm-meter" aria-hidden="true"><span></span><span></span></div>
        <div class="gm-scale" aria-hidden="true"><span>0</span><span>1</span><span>2</span></div>
      </dl>
      <label class="gm-check"><input type="checkbox"> score field <span>length ∝ √|score|</span></label>
      <ul class="gm-key">
        <li><svg viewBox="0 0 22 16"><circle class="gm-noise" cx="11" cy="8" r="7"/><circle class="gm-dot" cx="11" cy="8" r="4"/></svg><span><i>y</i>, drag it; the circle has radius <i>σ</i></span></li>
        <li><svg viewBox="0 0 22 16"><path class="gm-step" d="${arrow(0, 8, 15, 0, 2.6, 8)}"/><circle class="gm-mean" cx="18" cy="8" r="3.2"/></svg><span>from <i>y</i> to <i>f</i>*(<i>y</i>): <i>σ</i>² × score</span></li>
        <li><svg viewBox="0 0 22 16"><ellipse class="gm-ellipse" ${ellipse}/></svg><span>Cov[<i>x</i> | <i>y</i>] = <i>σ</i>²∇<i>f</i>*(<i>y</i>), one s.d.</span></li>
        <li><svg viewBox="0 0 22 16"><ellipse class="gm-clean" ${ellipse}/></svg><span>clean <i>x</i>: its components, one s.d.</span></li>
      </ul>
    </div>
  </div>
  <p class="gm-said" aria-live="polite"></p>`;

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "gahb-mixture";
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Denoising a point of a two-dimensional Gaussian mixture");
  root.innerHTML = TEMPLATE;
  el.append(root);
  const $ = (selector) => root.querySelector(selector);
  const plot = $(".gm-plot"), canvas = $("canvas"), scene = $(".gm-scene"), handle = $(".gm-handle");
  const inputs = { sigma: $(".gm-input-sigma"), y: [$(".gm-input-y0"), $(".gm-input-y1")], score: $(".gm-check input") };
  for (const e of [root, handle, ...root.querySelectorAll("input")]) e.setAttribute("data-lm-suppress-shortcuts", "true");

  const mix = prepare(model.get("weights"), model.get("means"), model.get("covariances"));
  const extent = model.get("extent"), [wide, tall] = [extent[1] - extent[0], extent[3] - extent[2]];
  const step = roundStep(Math.max(wide, tall) / 200), [low, high] = model.get("sigma_range").map(Math.log10);
  Object.assign(inputs.sigma, { min: low, max: high });
  inputs.y.forEach((input, i) => Object.assign(input, { min: extent[2 * i], max: extent[2 * i + 1] }));
  plot.style.aspectRatio = `${wide} / ${tall}`;

  let painted = "", frame = 0, saying = 0, spoken = null;
  const px = (x, y) => [(x - extent[0]) / wide * plot.clientWidth, (extent[3] - y) / tall * plot.clientHeight];

  // ------------------------------------------------------------ drawing
  function schedule() {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; draw(); });
  }

  function draw() {
    const w = plot.clientWidth, h = plot.clientHeight;
    if (!w || !h) return;
    const sigma = model.get("sigma"), y = model.get("y"), showScore = model.get("show_score");
    const now = posterior(mix, y, sigma), ratio = Math.min(window.devicePixelRatio || 1, 3), scale = w / wide;
    root.dataset.theme = theme();

    const key = [sigma, w, h, ratio, showScore, root.dataset.theme].join();
    if (key !== painted) { // what does not depend on y
      painted = key;
      Object.assign(canvas, { width: Math.round(w * ratio), height: Math.round(h * ratio) });
      const long = Math.max(w, h), nx = Math.round(CELLS * w / long), ny = Math.round(CELLS * h / long);
      paintDensity(canvas, logDensity(mix, sigma, extent, nx, ny), nx, ny,
        RAMPS[root.dataset.theme], getComputedStyle(root).getPropertyValue("--gm-ring"));
      scene.setAttribute("viewBox", `0 0 ${w} ${h}`);
      $(".gm-field").setAttribute("d", showScore ? field(sigma, w, h) : "");
      $(".gm-clean").setAttribute("d", clean(scale));
      $(".gm-ticks").innerHTML = ticks(w, h);
    }

    const [ax, ay] = px(...y), [bx, by] = px(...now.mean), dx = bx - ax, dy = by - ay, far = Math.hypot(dx, dy);
    handle.style.transform = `translate(${ax}px, ${ay}px)`;
    const set = (selector, attributes) => Object.entries(attributes).forEach(([k, v]) => $(selector).setAttribute(k, v));
    set(".gm-plot .gm-noise", { cx: ax, cy: ay, r: sigma * scale });
    set(".gm-plot .gm-dot", { cx: ax, cy: ay });
    set(".gm-plot .gm-mean", { cx: bx, cy: by });
    const [r0, r1] = now.eigenvalues.map((v) => sigma * Math.sqrt(v) * scale), [ux, uy] = now.axis;
    set(".gm-plot .gm-ellipse", { cx: bx, cy: by, rx: r0, ry: r1,
      transform: `rotate(${-Math.atan2(uy, ux) * 180 / Math.PI} ${bx} ${by})` });
    set(".gm-axes", { d: `M${bx - r0 * ux} ${by + r0 * uy}L${bx + r0 * ux} ${by - r0 * uy}` +
      `M${bx - r1 * uy} ${by - r1 * ux}L${bx + r1 * uy} ${by + r1 * ux}` });
    const [ox, oy] = far > 8 ? [dx / far, dy / far] : [0.7, -0.7], clamp = (v, a, b) => Math.min(b, Math.max(a, v));
    const gap = Math.max(0, far - 14); // from the rim of y's dot to the rim of the mean's
    set(".gm-plot .gm-step", { d: arrow(ax + 8 * ox, ay + 8 * oy, gap * ox, gap * oy, 3, 11) });
    set(".gm-label-y", { x: clamp(ax - 20 * ox, 10, w - 10), y: clamp(ay - 20 * oy + 5, 16, h - 8) });
    set(".gm-label-f", { x: clamp(bx + 32 * ox, 24, w - 24), y: clamp(by + 22 * oy + 5, 16, h - 8) });

    inputs.sigma.value = Math.log10(sigma);
    inputs.y.forEach((input, i) => { input.value = y[i]; });
    inputs.score.checked = showScore;
    const said = { sigma: number(sigma, sigma < 0.1 ? 3 : 2), y0: number(y[0]), y1: number(y[1]), f: pair(now.mean), score: pair(now.score),
      eigen: now.eigenvalues.map((v) => number(v)).join(", "), trace: number(now.trace), mse: number(now.mse, now.mse < 0.1 ? 4 : 3) };
    for (const [name, text] of Object.entries(said)) $(`.gm-${name}`).textContent = text;
    inputs.sigma.setAttribute("aria-valuetext", said.sigma);
    inputs.y.forEach((input, i) => input.setAttribute("aria-valuetext", said[`y${i}`]));
    Object.entries({ valuemin: extent[0], valuemax: extent[1], valuenow: y[0], valuetext: pair(y) })
      .forEach(([k, v]) => handle.setAttribute(`aria-${k}`, v));
    root.querySelectorAll(".gm-meter span").forEach((bar, i) => { bar.style.width = `${50 * now.eigenvalues[i]}%`; });

    const sentence = `Sigma ${said.sigma}, y at ${pair(y)}: denoised to ${said.f}, score ${said.score}, ` +
      `eigenvalues of the Jacobian ${said.eigen}, effective dimension ${said.trace}, mean squared error ${said.mse}.`;
    clearTimeout(saying);
    if (spoken !== null && spoken !== sentence) { // once the reader's hand has come to rest
      saying = setTimeout(() => { $(".gm-said").textContent = spoken = sentence; }, 700);
    }
    spoken ??= sentence; // not when the page opens
  }

  function field(sigma, w, h) {
    const gap = Math.max(24, Math.min(w, h) / 15), nx = Math.round(w / gap), ny = Math.round(h / gap), arrows = [];
    for (let j = 0; j < ny; j++) {
      for (let i = 0; i < nx; i++) {
        const x = (i + 0.5) / nx, y = (j + 0.5) / ny;
        const { score } = posterior(mix, [extent[0] + x * wide, extent[3] - y * tall], sigma);
        arrows.push([x * w, y * h, score[0], -score[1], Math.hypot(...score)]);
      }
    }
    const most = Math.max(...arrows.map((a) => a[4])) || 1;
    return arrows.map(([x, y, sx, sy, size]) => {
      const length = 0.82 * gap * Math.sqrt(size / most) / (size || 1);
      return arrow(x - sx * length / 2, y - sy * length / 2, sx * length, sy * length, 1.1, 5.5);
    }).join("");
  }

  function clean(scale) { // one standard deviation of each component: an ellipse, a line, or a small ring for a point
    return mix.map(({ mean, values, u }) => {
      const [x, y] = px(...mean), [a, b] = values.map((v) => Math.sqrt(v) * scale);
      if (a < 3) return `M${x} ${y}h.01M${x - 5} ${y}a5 5 0 0 0 10 0a5 5 0 0 0 -10 0`;
      const ex = a * u[0], ey = -a * u[1], tilt = -Math.atan2(u[1], u[0]) * 180 / Math.PI;
      if (b < 0.5) return `M${x - ex} ${y - ey}L${x + ex} ${y + ey}`;
      return `M${x - ex} ${y - ey}A${a} ${b} ${tilt} 0 1 ${x + ex} ${y + ey}A${a} ${b} ${tilt} 0 1 ${x - ex} ${y - ey}`;
    }).join("");
  }

  function ticks(w, h) {
    const every = roundStep(wide / w * 48), marks = [];
    const values = (low, high) => Array.from({ length: Math.floor(high / every) - Math.ceil(low / every) + 1 },
      (_, i) => (Math.ceil(low / every) + i) * every);
    const digits = Math.max(0, -Math.floor(Math.log10(every) + 1e-9));
    for (const v of values(extent[0], extent[1])) {
      const [x] = px(v, 0);
      marks.push(`<path d="M${x} ${h}v5"/><text x="${x}" y="${h + 15}" text-anchor="middle">${number(v, digits)}</text>`);
    }
    for (const v of values(extent[2], extent[3])) {
      const [, y] = px(0, v);
      marks.push(`<path d="M0 ${y}h-5"/><text x="-8" y="${y + 3.5}" text-anchor="end">${number(v, digits)}</text>`);
    }
    return marks.join("");
  }

  // ------------------------------------------------------------ the reader's hand
  function move(y) {
    model.set("y", y.map((v, i) => Math.min(extent[2 * i + 1], Math.max(extent[2 * i], v))));
    model.save_changes();
  }
  let held = null, start = null, grip = [0, 0]; // where the point was taken hold of, off its centre
  function pointed(event) {
    const box = plot.getBoundingClientRect(), x = event.clientX - grip[0] - box.left, y = event.clientY - grip[1] - box.top;
    move([extent[0] + x / box.width * wide, extent[3] - y / box.height * tall]);
  }
  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    // a finger drags the point itself; elsewhere it may be about to scroll the page, so only a tap counts
    if (event.pointerType !== "mouse" && event.target !== handle) { start = [event.clientX, event.clientY]; return; }
    event.preventDefault();
    handle.focus({ preventScroll: true });
    held = event.pointerId;
    plot.setPointerCapture(held);
    const box = handle.getBoundingClientRect();
    grip = event.target === handle ? [event.clientX - box.x - box.width / 2, event.clientY - box.y - box.height / 2] : [0, 0];
    if (event.target !== handle) pointed(event);
  });
  plot.addEventListener("pointermove", (event) => { if (event.pointerId === held) pointed(event); });
  plot.addEventListener("pointerup", (event) => {
    if (start && Math.hypot(event.clientX - start[0], event.clientY - start[1]) < 10) { grip = [0, 0]; pointed(event); }
    held = start = null;
  });
  plot.addEventListener("pointercancel", () => { held = start = null; });
  handle.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!way) return;
    event.preventDefault();
    event.stopPropagation(); // the arrow keys may turn the book's pages
    const size = step * (event.shiftKey ? 10 : 2);
    move(model.get("y").map((v, i) => (way[i] ? step * Math.round((v + size * way[i]) / step) : v)));
  });
  inputs.sigma.addEventListener("input", () => { model.set("sigma", 10 ** inputs.sigma.valueAsNumber); model.save_changes(); });
  inputs.y.forEach((input, i) => input.addEventListener("input", () => {
    move(model.get("y").map((v, n) => (n === i ? input.valueAsNumber : v)));
  }));
  inputs.score.addEventListener("change", () => { model.set("show_score", inputs.score.checked); model.save_changes(); });

  // ------------------------------------------------------------ what else may change
  const names = ["sigma", "y", "show_score"]; // the mixture itself stays as it was made
  for (const name of names) model.on(`change:${name}`, schedule);
  const sized = new ResizeObserver(schedule), dressed = new MutationObserver(schedule);
  sized.observe(plot);
  const options = { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light", "class"] };
  dressed.observe(document.documentElement, options);
  dressed.observe(document.body, options);
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", schedule);
  schedule();

  return () => {
    for (const name of names) model.off(`change:${name}`, schedule);
    for (const observer of [sized, dressed]) observer.disconnect();
    system.removeEventListener("change", schedule);
    cancelAnimationFrame(frame);
    clearTimeout(saying);
    root.remove();
  };
}

export default { render };
