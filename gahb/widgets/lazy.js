// Brings a widget to life once it is near the screen, or the keyboard has come to it; until then its page holds an
// empty place and this. The place before this script names the widget, or a plain script (so that a page opened from
// a disk may load it too) whose file has that name: it puts { esm, css, state, bytes } into window.gahbWidgets.
(() => {
  const place = document.currentScript.previousElementSibling, { widget: file, alt } = place.dataset;
  const name = file.replace(/^.*\/|\.js$/g, ""), waiting = { role: "group", tabindex: 0, "aria-label": alt };
  const watch = new IntersectionObserver((seen) => { if (seen.some((entry) => entry.isIntersecting)) begin(); }, { rootMargin: "400px" });
  for (const [key, value] of Object.entries(waiting)) place.setAttribute(key, value);
  place.addEventListener("focus", begin);
  watch.observe(place);

  function begin() {
    watch.disconnect();
    place.removeEventListener("focus", begin);
    if (window.gahbWidgets?.[name]) return start(window.gahbWidgets[name]);
    const script = document.createElement("script");
    script.src = file;
    script.onload = () => start(window.gahbWidgets[name]);
    script.onerror = () => end("The widget's file could not be read; the pictures beside it are what it shows.");
    document.head.append(script);
  }

  function end(...content) {
    const reached = document.activeElement === place;
    for (const key of Object.keys(waiting)) place.removeAttribute(key);
    place.replaceChildren(...content);
    if (reached) place.querySelector("button:enabled, input:enabled, [tabindex]")?.focus(); // who came by keyboard goes on inside
  }

  async function start({ esm, css, state: given, bytes }) {
    const state = { ...given }, heard = {}; // what a kernel would keep
    for (const [key, text] of Object.entries(bytes)) state[key] = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
    const model = {
      get: (key) => state[key],
      set(key, value) { state[key] = value; (heard[`change:${key}`] ?? []).forEach((f) => f()); },
      save_changes() {},
      on: (key, f) => (heard[key] ??= []).push(f),
      off: (key, f) => { heard[key] = (heard[key] ?? []).filter((g) => g !== f); },
    };
    const address = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
    try {
      const widget = await import(address);
      const style = document.createElement("style"), el = document.createElement("div");
      style.textContent = css;
      await widget.default.render({ model, el });
      end(style, el);
      place.parentElement.classList.add("gahb-alive"); // pictures that stand in for it are then only printed
    } catch (error) {
      end(`The widget does not run in this browser (${error.message}); the pictures beside it are what it shows.`);
    } finally {
      URL.revokeObjectURL(address);
    }
  }
})();
