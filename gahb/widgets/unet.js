// A bias-free UNet in the page: f(y), J v and J' w, with J the Jacobian at y.
//
// All its time goes into sums over channels and taps. Those are one WebAssembly
// function, written out below in SIMD instructions by a few lines of assembler;
// the rest (ReLU, pooling, what goes where) is plain loops over the same memory.
//
// A picture of n × n pixels lies in a plane of (n + 2)² floats with a border of
// zeros, so that a 3 × 3 convolution is nine shifts of the whole plane: it runs
// over rows and borders alike, and the border of what it writes is wiped by the
// ReLU that follows. After the pass at y every ReLU is a mask of zeros and ones,
// and products with J and J' are passes of the same kind (gahb.jacobian.linearized).

// ---------------------------------------------------------------- the assembler

const LANES = 4, PIXELS = 8, PAGE = 65536; // of a SIMD vector; made at a time; bytes of WebAssembly's memory unit

const unsigned = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...unsigned(n >>> 7)]);
const signed = (n) => (n >= -64 && n < 64 ? [n & 127] : [(n & 127) | 128, ...signed(n >> 7)]);
const vector = (items) => [...unsigned(items.length), ...items.flat()];
const section = (id, items) => { const body = vector(items); return [id, ...unsigned(body.length), ...body]; };
const text = (name) => vector([...name].map((c) => c.charCodeAt(0)));

const get = (i) => [0x20, i], set = (i) => [0x21, i], constant = (n) => [0x41, ...signed(n)];
const ADD = 0x6a, SUB = 0x6b, MUL = 0x6c, BELOW = 0x49; // of 32-bit integers
const load = (offset) => [0xfd, 0x00, 2, ...unsigned(offset)], store = (offset) => [0xfd, 0x0b, 2, ...unsigned(offset)];
const spread = (offset) => [0xfd, 0x09, 2, ...unsigned(offset)]; // one float to all lanes
const TIMES = [0xfd, 0xe6, 0x01], PLUS = [0xfd, 0xe4, 0x01], ZERO = [0xfd, 0x0c, ...Array(16).fill(0)];
const loop = (...body) => [0x03, 0x40, ...body.flat(), 0x0d, 0, 0x0b]; // again while the last value is not 0

// The body of sum(in, out, weights, inputs, blocks, row, plane, count): LANES output channels × PIXELS pixels at
// a time, over `inputs` planes and side × side taps. Addresses, row, plane and count (of pixels × 4) are in bytes.
function sum(side) {
  const [input, out, weights, inputs, blocks, row, plane, count, at, pixel, weight, left, back, first] =
    Array.from({ length: 14 }, (_, i) => i);
  const total = (o, half) => first + 2 * o + half, x = (half) => first + 2 * LANES + half, w = first + 2 * LANES + 2;
  const lanes = Array.from({ length: LANES }, (_, o) => o), halves = [0, 1];
  const tap = (r, c) => [
    ...halves.flatMap((half) => [...get(pixel), ...load(4 * c + 16 * half), ...set(x(half))]),
    ...lanes.flatMap((o) => [
      ...get(weight), ...spread(4 * (LANES * (side * r + c) + o)), ...set(w),
      ...halves.flatMap((half) => [...get(total(o, half)), ...get(x(half)), ...get(w), ...TIMES, ...PLUS, ...set(total(o, half))]),
    ]),
  ];
  const rows = Array.from({ length: side }, (_, r) => [
    ...Array.from({ length: side }, (_, c) => tap(r, c)).flat(), ...get(pixel), ...get(row), ADD, ...set(pixel),
  ]).flat();
  return [
    ...get(plane), ...get(row), ...constant(side), MUL, SUB, ...set(back),
    ...loop(
      constant(0), set(at),
      loop(
        lanes.flatMap((o) => halves.flatMap((half) => [...ZERO, ...set(total(o, half))])),
        get(input), get(at), [ADD], set(pixel), get(weights), set(weight), get(inputs), set(left),
        loop(
          rows, get(pixel), get(back), [ADD], set(pixel),
          get(weight), constant(4 * LANES * side * side), [ADD], set(weight),
          get(left), constant(1), [SUB, 0x22, left], // set, and leave it for the loop to see
        ),
        get(out), get(at), [ADD], set(pixel),
        lanes.flatMap((o) => [
          ...halves.flatMap((half) => [...get(pixel), ...get(total(o, half)), ...store(16 * half)]),
          ...get(pixel), ...get(plane), ADD, ...set(pixel),
        ]),
        get(at), constant(4 * PIXELS), [ADD, 0x22, at], get(count), [BELOW],
      ),
      get(weight), set(weights), get(out), get(plane), constant(LANES), [MUL, ADD], set(out),
      get(blocks), constant(1), [SUB, 0x22, blocks],
    ),
    0x0b,
  ];
}

// A module of two functions, s1 and s3, that work in a memory given to it.
export function assembled() {
  const integer = 0x7f, simd = 0x7b, body = (side) => {
    const code = [...vector([[...unsigned(5), integer], [...unsigned(2 * LANES + 3), simd]]), ...sum(side)];
    return [...unsigned(code.length), ...code];
  };
  return Uint8Array.from([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [[0x60, ...vector(Array(8).fill(integer)), 0]]),
    ...section(2, [[...text("p"), ...text("m"), 2, 0, 1]]),
    ...section(3, [0, 0]),
    ...section(7, [[...text("s1"), 0, 0], [...text("s3"), 0, 1]]),
    ...section(10, [body(1), body(3)]),
  ]);
}

// ---------------------------------------------------------------- the network

const whole = (n) => LANES * Math.ceil(n / LANES);

// A place for `channels` planes of n × n pixels.
class Block {
  constructor(room, n, channels) {
    Object.assign(this, { n, channels, row: n + 2, plane: whole((n + 2) ** 2 + PIXELS) });
    this.start = room.take(whole(channels) * this.plane);
    this.interior = this.row + 1; // of the first pixel
  }
  from(channel, channels = this.channels - channel) { // the planes from `channel` on, as a block
    return Object.assign(Object.create(Block.prototype), this, { start: this.start + channel * this.plane, channels });
  }
}

// `Unet.make` compiles; then `forward(y)` comes first, and `product(v)`, `transposed(w)` belong to that y.
export class Unet {
  // `state`: the floats of gahb.UNet(width, depth)'s state, in its own order; pictures of size × size.
  static async make(state, { width, depth, size }) {
    if (size % 2 ** depth) throw new Error(`size must be divisible by ${2 ** depth}, got ${size}`);
    const module = await WebAssembly.compile(assembled());
    return new Unet(module, state, width, depth, size);
  }

  constructor(module, state, width, depth, size) {
    let used = 0, read = 0;
    const room = { take: (floats) => { const start = used; used += floats; return start; } };
    const take = (n) => { read += n; return state.subarray(read - n, read); };
    const packs = []; // weights, to be written into the memory once its size is known

    // outputs × inputs × taps, four outputs side by side; and the same map transposed
    const pack = (outputs, inputs, taps, weight) => {
      const floats = new Float32Array(whole(outputs) * inputs * taps), start = room.take(floats.length);
      for (let o = 0; o < outputs; o++) {
        for (let i = 0; i < inputs; i++) {
          for (let t = 0; t < taps; t++) {
            floats[((o - (o % LANES)) * inputs + i * LANES) * taps + t * LANES + (o % LANES)] = weight(o, i, t);
          }
        }
      }
      packs.push([start, floats]);
      return start;
    };
    const convolution = (inputs, outputs, normed) => {
      const w = take(9 * inputs * outputs), factor = new Float64Array(outputs).fill(1);
      if (normed) {
        const gain = take(outputs), sd = take(outputs);
        for (let o = 0; o < outputs; o++) factor[o] = gain[o] / sd[o];
      }
      const weight = (o, i, t) => factor[o] * w[(o * inputs + i) * 9 + t];
      return { forward: pack(outputs, inputs, 9, weight), transposed: pack(inputs, outputs, 9, (o, i, t) => weight(i, o, 8 - t)) };
    };
    const pair = (inputs, outputs, normed, last = outputs) =>
      [convolution(inputs, outputs, normed), convolution(outputs, last, last === outputs)];

    // the order of the state: encoder, middle, upsampling, decoder
    const channels = Array.from({ length: depth + 1 }, (_, level) => width * 2 ** level);
    const levels = channels.map((c, level) => ({ c, n: size / 2 ** level }));
    for (const [level, l] of levels.entries()) l.down = pair(level ? channels[level - 1] : 1, l.c, level > 0);
    for (const l of levels.slice(0, -1)) {
      const w = take(8 * l.c * l.c), weight = (o, i) => w[i * 4 * l.c + o]; // o = 4 · channel + place of four
      l.up = { forward: pack(4 * l.c, 2 * l.c, 1, weight), transposed: pack(2 * l.c, 4 * l.c, 1, (o, i) => weight(i, o)) };
    }
    for (const [level, l] of levels.slice(0, -1).entries()) l.back = pair(2 * l.c, l.c, true, level ? l.c : 1);
    if (read !== state.length) throw new Error(`state must hold ${read} numbers, got ${state.length}`);

    for (const [level, l] of levels.entries()) {
      const mask = () => new Float32Array(l.c * l.inner.plane);
      l.input = new Block(room, l.n, level ? channels[level - 1] : 1);
      l.inner = new Block(room, l.n, l.c);
      l.innerMask = mask(), l.skipMask = mask();
      if (level === depth) { l.skip = l.top = new Block(room, l.n, l.c); continue; }
      l.cat = new Block(room, l.n, 2 * l.c + LANES); // room for what a sum of whole(c) channels writes beyond
      l.skip = l.cat.from(l.c, l.c);
      l.four = new Block(room, l.n / 2, 4 * l.c);
      l.decoded = new Block(room, l.n, l.c);
      l.top = new Block(room, l.n, level ? l.c : 1);
      l.decodedMask = mask(), l.topMask = level ? mask() : null;
    }
    const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * used + 256) / PAGE) });
    this.sums = new WebAssembly.Instance(module, { p: { m: memory } }).exports;
    this.floats = new Float32Array(memory.buffer);
    for (const [start, floats] of packs) this.floats.set(floats, start);
    Object.assign(this, { levels, size, pixels: size * size, parameters: read });
  }

  // f(y), float32; the masks are kept
  forward(y) { return this.#pass(y, true); }

  // J v
  product(v) { return this.#pass(v, false); }

  #pass(y, record) {
    const { levels } = this, last = levels.length - 1;
    this.#write(levels[0].input, y);
    for (const [level, l] of levels.entries()) {
      if (level) this.#pool(levels[level - 1].skip, l.input);
      this.#convolve(l.input, l.inner, l.down[0].forward);
      this.#relu(l.inner, l.innerMask, record);
      this.#convolve(l.inner, l.skip, l.down[1].forward);
      this.#relu(l.skip, l.skipMask, record);
    }
    for (let level = last - 1; level >= 0; level--) {
      const l = levels[level];
      this.#mix(levels[level + 1].top, l.four, l.up.forward);
      this.#weave(l.four, l.cat, l.c);
      this.#convolve(l.cat.from(0, 2 * l.c), l.decoded, l.back[0].forward);
      this.#relu(l.decoded, l.decodedMask, record);
      this.#convolve(l.decoded, l.top, l.back[1].forward);
      if (level) this.#relu(l.top, l.topMask, record);
    }
    return this.#subtracted(y, levels[0].top);
  }

  // J' w
  transposed(w) {
    const { levels } = this, last = levels.length - 1;
    this.#write(levels[0].top, w);
    for (let level = 0; level < last; level++) {
      const l = levels[level];
      if (level) this.#relu(l.top, l.topMask, false);
      this.#convolve(l.top, l.decoded, l.back[1].transposed);
      this.#relu(l.decoded, l.decodedMask, false);
      this.#convolve(l.decoded, l.cat.from(0, 2 * l.c), l.back[0].transposed);
      this.#unweave(l.cat, l.four, l.c);
      this.#mix(l.four, levels[level + 1].top, l.up.transposed);
    }
    for (let level = last; level >= 0; level--) {
      const l = levels[level];
      if (level < last) this.#unpool(levels[level + 1].input, l.skip);
      this.#relu(l.skip, l.skipMask, false);
      this.#convolve(l.skip, l.inner, l.down[1].transposed);
      this.#relu(l.inner, l.innerMask, false);
      this.#convolve(l.inner, l.input, l.down[0].transposed);
    }
    return this.#subtracted(w, levels[0].input);
  }

  #convolve(from, to, weights) {
    const count = PIXELS * Math.ceil((from.n * from.row - 2) / PIXELS);
    this.sums.s3(4 * from.start, 4 * (to.start + to.interior), 4 * weights, from.channels,
      whole(to.channels) / LANES, 4 * from.row, 4 * from.plane, 4 * count);
  }

  #mix(from, to, weights) {
    const count = PIXELS * Math.ceil((from.n * from.row - 2) / PIXELS);
    this.sums.s1(4 * (from.start + from.interior), 4 * (to.start + to.interior), 4 * weights, from.channels,
      whole(to.channels) / LANES, 4 * from.row, 4 * from.plane, 4 * count);
  }

  // Zero where the mask is, the border included; at y the mask is made first.
  #relu(block, mask, record) {
    const values = this.floats.subarray(block.start, block.start + mask.length), { n, row, plane, interior } = block;
    if (record) {
      for (let start = interior; start < mask.length; start += plane) {
        for (let r = 0, i = start; r < n; r++, i += row) {
          for (let k = i; k < i + n; k++) mask[k] = values[k] > 0 ? 1 : 0;
        }
      }
    }
    for (let k = 0; k < mask.length; k++) values[k] *= mask[k];
  }

  #write(block, picture) {
    const { n, row } = block, start = block.start;
    this.floats.fill(0, start, start + block.plane);
    for (let r = 0; r < n; r++) this.floats.set(picture.subarray(r * n, r * n + n), start + block.interior + r * row);
  }

  #subtracted(picture, block) {
    const { n, row } = block, out = new Float32Array(n * n);
    for (let r = 0, k = 0; r < n; r++) {
      for (let i = block.start + block.interior + r * row, end = i + n; i < end; i++, k++) out[k] = picture[k] - this.floats[i];
    }
    return out;
  }

  // Every pixel of the coarse block, with the first of its four fine ones.
  #four(coarse, fine, channels, visit) {
    for (let c = 0; c < channels; c++) {
      for (let r = 0; r < coarse.n; r++) {
        let a = coarse.start + c * coarse.plane + coarse.interior + r * coarse.row;
        let b = fine.start + c * fine.plane + fine.interior + 2 * r * fine.row;
        for (let k = 0; k < coarse.n; k++, a++, b += 2) visit(a, b);
      }
    }
  }

  #pool(fine, coarse) {
    const f = this.floats, { row } = fine;
    this.#four(coarse, fine, fine.channels, (a, b) => { f[a] = 0.25 * (f[b] + f[b + 1] + f[b + row] + f[b + row + 1]); });
    for (let c = 0; c < coarse.channels; c++) this.#border(coarse, c);
  }

  #unpool(coarse, fine) {
    const f = this.floats, { row } = fine;
    this.#four(coarse, fine, fine.channels, (a, b) => {
      const part = 0.25 * f[a];
      f[b] += part, f[b + 1] += part, f[b + row] += part, f[b + row + 1] += part;
    });
  }

  #weave(four, cat, channels) { // four coarse planes become one fine one
    const f = this.floats, { row } = cat;
    this.#places(four, cat, channels, (a, b, p) => { f[b] = f[a], f[b + 1] = f[a + p], f[b + row] = f[a + 2 * p], f[b + row + 1] = f[a + 3 * p]; });
    for (let c = 0; c < channels; c++) this.#border(cat, c);
  }

  #unweave(cat, four, channels) {
    const f = this.floats, { row } = cat;
    this.#places(four, cat, channels, (a, b, p) => { f[a] = f[b], f[a + p] = f[b + 1], f[a + 2 * p] = f[b + row], f[a + 3 * p] = f[b + row + 1]; });
  }

  #places(four, cat, channels, visit) {
    for (let c = 0; c < channels; c++) {
      this.#four({ ...four, start: four.start + 4 * c * four.plane }, { ...cat, start: cat.start + c * cat.plane }, 1,
        (a, b) => visit(a, b, four.plane));
    }
  }

  #border(block, channel) {
    const { n, row } = block, start = block.start + channel * block.plane;
    this.floats.fill(0, start, start + row + 1);
    for (let r = 1; r <= n; r++) this.floats.fill(0, start + r * row + n + 1, start + (r + 1) * row + 1);
    this.floats.fill(0, start + (n + 1) * row, start + block.plane);
  }
}
