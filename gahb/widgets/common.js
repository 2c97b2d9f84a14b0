// What all widgets share; it stands before the rest of each.

// The page's own choice of theme, else JupyterLab's, else the system's.
function theme() {
  const page = document.documentElement.dataset.theme, lab = document.body.dataset.jpThemeLight;
  if (page === "dark" || page === "light") return page;
  if (lab) return lab === "false" ? "dark" : "light";
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

// A round step: 1, 2 or 5 times a power of ten, at least `rough`.
function roundStep(rough) {
  const unit = 10 ** Math.floor(Math.log10(rough));
  return unit * [1, 2, 5, 10].find((m) => m * unit >= rough * (1 - 1e-9));
}

// Bytes that Python has deflated.
async function inflated(view) {
  const stream = new Blob([view]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}
