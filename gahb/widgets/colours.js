// Levels to colours: opaque pixels, bytes from the low end r g b a. Shared by the widgets that show pictures.

// ColorBrewer's RdBu, blue for negative: what the book's figures use.
const STOPS = ["053061", "2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7", "fddbc7", "f4a582", "d6604d", "b2182b", "67001f"];

// Colours of the levels 1 … 255, zero at 128.
export function diverging() {
  const rgb = STOPS.map((s) => [0, 2, 4].map((i) => parseInt(s.slice(i, i + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, level) => {
    const x = Math.max(0, level - 1) / 254 * (STOPS.length - 1), n = Math.min(STOPS.length - 2, Math.floor(x));
    const [r, g, b] = rgb[n].map((c, k) => Math.round(c + (x - n) * (rgb[n + 1][k] - c)));
    return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
  });
}
const grey = () => Uint32Array.from({ length: 256 }, (_, v) => (255 << 24 | v << 16 | v << 8 | v) >>> 0);
