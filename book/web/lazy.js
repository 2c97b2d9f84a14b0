// Brings a widget to life once it is near the screen; until then its page holds a picture and this.
// The holder before this script names a file that puts { esm, css, state, bytes } into window.gahbWidgets
// under the name it has without .js: a plain script, so that a page opened from a disk may load it too.
(() => {
  const holder = document.currentScript.previousElementSibling;
  const watch = new IntersectionObserver((seen) => {
    if (!seen.some((entry) => entry.isIntersecting)) return;
    watch.disconnect();
    const script = document.createElement("script");
    script.src = holder.dataset.widget;
    script.onload = () => start(window.gahbWidgets[holder.dataset.widget.match(/([^/]+)\.js$/)[1]]);
    script.onerror = () => { holder.textContent = "The widget's file could not be read; below is what it shows."; };
    document.head.append(script);
  }, { rootMargin: "400px" });
  watch.observe(holder);

  async function start({ esm, css, state, bytes }) {
    const heard = {}; // what a kernel would keep
    for (const [name, text] of Object.entries(bytes)) state[name] = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
    const model = {
      get: (name) => state[name],
      set(name, value) { state[name] = value; (heard[`change:${name}`] ?? []).forEach((f) => f()); },
      save_changes() {},
      on: (name, f) => (heard[name] ??= []).push(f),
      off: (name, f) => { heard[name] = (heard[name] ?? []).filter((g) => g !== f); },
    };
    const address = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
    try {
      const widget = await import(address);
      const style = document.createElement("style"), el = document.createElement("div");
      style.textContent = css;
      await widget.default.render({ model, el });
      holder.replaceChildren(style, el);
      holder.parentElement.classList.add("gahb-alive"); // its picture is then only printed
    } catch (error) {
      holder.textContent = `The widget does not run in this browser (${error.message}); below is what it shows.`;
    } finally {
      URL.revokeObjectURL(address);
    }
  }
})();
