// Runs after require.js and before the widget manager (see _config.yml).
(() => {
  // Widget modules (anywidget.js, ...) lie beside this file, on the book's own host.
  requirejs.config({ baseUrl: new URL(".", document.currentScript.src).href });
})();
