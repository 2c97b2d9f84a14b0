// Leading eigenvectors of a symmetric map known by its products, and noise.

function mixed(z) { // 32 bits, each of which depends on every bit given (splitmix32)
  z ^= z >>> 16, z = Math.imul(z, 0x21f0aaad), z ^= z >>> 15, z = Math.imul(z, 0x735a2d97);
  return z ^ (z >>> 15);
}

// Unit noise of a stream named by an integer: a counter, mixed, to uniform numbers in (0, 1), then Box–Muller. Where the
// counter starts and how far it steps are mixed from the name: neighbours must not be one stream shifted.
export function normal(count, seed) {
  const step = mixed(Math.imul(seed + 1, 0x9e3779b9)) | 1;
  let state = mixed(seed ^ 0x5bd1e995);
  const uniform = () => {
    state = (state + step) | 0;
    return ((mixed(state) >>> 0) + 0.5) / 2 ** 32;
  };
  const out = new Float32Array(count + 1);
  for (let i = 0; i < count; i += 2) {
    const r = Math.sqrt(-2 * Math.log(uniform())), angle = 2 * Math.PI * uniform();
    out[i] = r * Math.cos(angle), out[i + 1] = r * Math.sin(angle);
  }
  return out.subarray(0, count);
}

const dot = (a, b) => { let s = 0; for (let i = 0; i < a.length; i++) s += a[i] * b[i]; return s; };
const add = (a, factor, b) => { for (let i = 0; i < a.length; i++) a[i] += factor * b[i]; };
const scale = (a, factor) => { for (let i = 0; i < a.length; i++) a[i] *= factor; };

// Eigenpairs of a symmetric matrix (rows), by descending eigenvalue: Jacobi's rotations, until none is left to do.
export function jacobi(matrix) {
  const n = matrix.length, A = matrix.map((row) => Float64Array.from(row));
  const U = A.map((_, i) => Float64Array.from({ length: n }, (_, j) => +(i === j))); // row i: eigenvector i
  const size = Math.sqrt(A.reduce((s, row) => s + dot(row, row), 0));
  for (let sweep = 0, most = Infinity; most > 1e-13 * size && sweep < 40; sweep++) {
    most = 0;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const off = A[p][q];
        most = Math.max(most, Math.abs(off));
        if (Math.abs(off) <= 1e-15 * size) continue;
        const theta = (A[q][q] - A[p][p]) / (2 * off), t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
        const c = 1 / Math.hypot(t, 1), s = t * c;
        for (let k = 0; k < n; k++) { const a = A[k][p], b = A[k][q]; A[k][p] = c * a - s * b, A[k][q] = s * a + c * b; }
        for (const M of [A, U]) {
          const P = M[p], Q = M[q];
          for (let k = 0; k < n; k++) { const a = P[k], b = Q[k]; P[k] = c * a - s * b, Q[k] = s * a + c * b; }
        }
      }
    }
  }
  const order = A.map((_, i) => i).sort((i, j) => A[j][j] - A[i][i]);
  return { values: order.map((i) => A[i][i]), vectors: order.map((i) => U[i]) };
}

// The k leading eigenpairs of S, given v ↦ S v in dimension d, as a generator: after every product it yields what
// is known, { products, progress in 0 … 1, values, vectors, residuals } (nothing but products and progress at first).
//
// Subspace iteration that forgets nothing: the subspace grows by `block` vectors at a time, S times the last ones
// (block Lanczos); `often`, the best of what it holds are taken to be the eigenvectors of S within it (Rayleigh–Ritz);
// when it has grown to `room`, its better part is kept. It ends when every |S e − λ e| is at most tol and no λ moves any more.
export function* leading(product, d, k, { tol = 1e-3, block = 4, often = 16, room = 96, most = 2000, seed = 0 } = {}) {
  let V = [], W = [], T = [], products = 0, drawn = 0, progress = 0, first = 0, due = k + block, found = {};
  const random = () => Float64Array.from(normal(d, 1e6 + 1000 * seed + drawn++));
  const fresh = (v, others) => { // the part of v outside the span of the others, of unit length
    for (let tries = 0; tries < 3; tries++) {
      const before = Math.sqrt(dot(v, v));
      for (let again = 0; again < 2; again++) for (const u of others) add(v, -dot(u, v), u);
      const length = Math.sqrt(dot(v, v));
      if (length > 1e-6 * before && length > 1e-30) { scale(v, 1 / length); break; }
      v = random();
    }
    for (const u of others) add(v, -dot(u, v), u);
    scale(v, 1 / Math.sqrt(dot(v, v)));
    return v;
  };
  let X = Array.from({ length: Math.min(block, d) }, random);
  while (true) {
    for (const x of X) {
      V.push(fresh(x, V));
      W.push(Float64Array.from(product(Float32Array.from(V.at(-1)))));
      const j = V.length - 1;
      T.push(new Float64Array(room + block));
      for (let i = 0; i <= j; i++) T[i][j] = T[j][i] = (dot(V[i], W[j]) + dot(V[j], W[i])) / 2;
      products++;
      yield { products, progress, ...found };
    }
    // all that S leads out of the span, made orthogonal to it before a part of it is given up below
    X = W.slice(-X.length).slice(0, d - V.length).reduce((kept, w) => [...kept, fresh(w.slice(), [...V, ...kept])], []);
    if (V.length < Math.min(due, d)) continue;
    const small = jacobi(T.map((row) => row.subarray(0, V.length)));
    const mix = (columns, u) => { const out = new Float64Array(d); columns.forEach((c, i) => add(out, u[i], c)); return out; };
    const before = found.values, values = small.values.slice(0, k);
    const vectors = small.vectors.slice(0, k).map((u) => mix(V, u));
    const residuals = small.vectors.slice(0, k).map((u, i) => {
      const r = mix(W, u);
      add(r, -values[i], vectors[i]);
      return Math.sqrt(dot(r, r));
    });
    found = { values, vectors, residuals };
    const largest = Math.max(...residuals);
    first ||= Math.max(largest, 2 * tol);
    progress = Math.max(progress, Math.min(1, Math.log(first / Math.max(largest, tol)) / Math.log(first / tol)));
    const still = before && values.every((v, i) => Math.abs(v - before[i]) <= 1e-5);
    if ((largest <= tol && still) || V.length === d || products >= most) {
      yield { products, progress: 1, ...found, done: true };
      return;
    }
    if (V.length + often > room) {
      const kept = small.vectors.slice(0, (k + room) >> 1);
      [V, W] = [V, W].map((columns) => kept.map((u) => mix(columns, u)));
      T = kept.map((_, i) => { const row = new Float64Array(room + block); row[i] = small.values[i]; return row; });
    }
    due = V.length + often;
  }
}
