// Runs after require.js and before the widget manager (see _config.yml).
(() => {
  // Widget modules (anywidget.js, ...) lie beside this file, on the book's own host.
  requirejs.config({ baseUrl: new URL(".", document.currentScript.src).href });
  // Left to watch the page, Font Awesome swaps the icon inside the Play widget
  // for an SVG; the widget then no longer finds it, and its link breaks.
  window.FontAwesomeConfig = { observeMutations: false };
})();
