// The plot of the live denoiser: how well it does at every noise level, beside a larger network.

const decibels = (error) => -20 * Math.log10(Math.max(error, 1e-6));
const decimals = (v) => number(v, 2, 1);

// PSNR in dB against the noise level, from low to high, into the svg `plot`: curves ({ label, sigmas, psnr }), that of
// the noisy picture, and a ring at `dot` ([σ, PSNR]) if there is one.
function drawPsnr(plot, curves, dot, from, to) {
  plot.toggleAttribute("hidden", !curves.length);
  if (!curves.length) return;
  const narrow = plot.clientWidth && plot.clientWidth < 480, w = narrow ? 360 : 640, lines = [[]], left = 44, right = w - 14;
  const legend = [...curves.map((c, i) => [c.label, `gl-curve gl-curve-${i}`]), ["noisy picture", "gl-nothing"]];
  for (const [label, kind] of legend) { // as many to a line as there is room for
    const wide = 40 + 7 * label.length, used = lines.at(-1).reduce((sum, item) => sum + item.wide, 0);
    if (used && used + wide > right - left) lines.push([]);
    lines.at(-1).push({ label, kind, wide });
  }
  const all = curves.flatMap((c) => c.psnr), low = Math.max(0, Math.floor((Math.min(...all) - 4) / 10) * 10), high = Math.ceil(Math.max(...all) / 5) * 5;
  const top = 18 * lines.length + 8, bottom = top + 130, h = bottom + 38;
  const px = (s) => left + (right - left) * Math.log(s / from) / Math.log(to / from);
  const py = (p) => top + (bottom - top) * (high - Math.min(high, Math.max(low, p))) / (high - low);
  const line = (points) => points.map(([s, p], i) => `${i ? "L" : "M"}${px(s).toFixed(1)} ${py(p).toFixed(1)}`).join("");
  const nodes = [];
  for (let p = low; p <= high; p += 10) {
    nodes.push(make("path", { class: "gl-grid", d: `M${left} ${py(p)}H${right}` }), make("text", { x: left - 7, y: py(p) + 4, "text-anchor": "end" }, p));
  }
  for (const s of [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]) nodes.push(make("text", { x: px(s), y: bottom + 17, "text-anchor": "middle" }, s));
  nodes.push(make("text", { x: (left + right) / 2, y: h - 2, "text-anchor": "middle" }, "noise level σ; PSNR in dB"));
  const ends = [Math.max(from, 10 ** (-high / 20)), Math.min(to, 10 ** (-low / 20))];
  nodes.push(make("path", { class: "gl-nothing", d: line(ends.map((s) => [s, decibels(s)])) }));
  curves.forEach((curve, i) => {
    nodes.push(make("path", { class: `gl-curve gl-curve-${i}`, d: line(curve.sigmas.map((s, k) => [s, curve.psnr[k]])) }));
    for (const [k, s] of curve.sigmas.entries()) nodes.push(make("circle", { class: `gl-mark-${i}`, cx: px(s), cy: py(curve.psnr[k]), r: 3 }));
  });
  if (dot) nodes.push(make("circle", { class: "gl-dot", cx: px(dot[0]), cy: py(dot[1]), r: 5.5 }));
  lines.forEach((items, row) => items.reduce((x, { label, kind, wide }) => {
    nodes.push(make("path", { class: kind, d: `M${x} ${18 * row + 9}h18` }), make("text", { x: x + 23, y: 18 * row + 13 }, label));
    return x + wide;
  }, left));
  plot.setAttribute("viewBox", `0 0 ${w} ${h}`);
  plot.replaceChildren(...nodes);
  plot.setAttribute("aria-label", `PSNR in decibels by noise level, on pictures not trained on. ${curves.map((c) =>
    `${c.label}: ${c.sigmas.map((s, k) => `${decimals(c.psnr[k])} at ${s}`).join(", ")}`).join(". ")}.`);
}
