// A tensor is { shape, data }: float64 numbers in rows, the last axis contiguous, as in NumPy.

export function tensor(shape, data = new Float64Array(sizeOf(shape))) {
  if (data.length !== sizeOf(shape)) throw new Error(`${data.length} numbers do not fit the shape (${shape})`);
  return { shape, data };
}

export function sizeOf(shape) {
  return shape.reduce((product, size) => product * size, 1);
}

// Returns a tensor of the same shape with f(x, index) for every number x.
export function map(x, f) {
  const y = tensor(x.shape);
  for (let i = 0; i < x.data.length; i++) y.data[i] = f(x.data[i], i);
  return y;
}

// Returns x + y, which have the same shape.
export function add(x, y) {
  checkShape("a summand", y, x.shape);
  return map(x, (value, i) => value + y.data[i]);
}

export function checkShape(what, x, shape) {
  const fits = x.shape.length === shape.length && x.shape.every((size, axis) => size === shape[axis]);
  if (!fits) throw new Error(`expected ${what} of shape (${shape}), got (${x.shape})`);
}

// Matrices are Float64Arrays in rows. Returns A B, where A is (rows, inner) and B (inner, columns).
export function product(a, b, rows, inner, columns) {
  return multiply(a, inner, 1, b, rows, inner, columns);
}

// Returns A^T B, where A is (inner, rows) and B (inner, columns).
export function transposedProduct(a, b, rows, inner, columns) {
  return multiply(a, 1, rows, b, rows, inner, columns);
}

// Returns A B^T, where A is (rows, inner) and B (columns, inner).
export function productTransposed(a, b, rows, inner, columns) {
  const c = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0, ai = i * inner, bj = j * inner; k < inner; k++) sum += a[ai + k] * b[bj + k];
      c[i * columns + j] = sum;
    }
  }
  return c;
}

// A's number (i, k) is at i * rowStep + k * innerStep. Four rows of B are added to a row of C at once,
// which reads and writes C a quarter as often.
function multiply(a, rowStep, innerStep, b, rows, inner, columns) {
  const c = new Float64Array(rows * columns);
  const blocked = inner - (inner % 4);
  for (let i = 0; i < rows; i++) {
    const row = i * columns;
    let at = i * rowStep;
    let k = 0;
    for (; k < blocked; k += 4) {
      const [b0, b1, b2, b3] = [k * columns, (k + 1) * columns, (k + 2) * columns, (k + 3) * columns];
      const a0 = a[at];
      const a1 = a[at + innerStep];
      const a2 = a[at + 2 * innerStep];
      const a3 = a[at + 3 * innerStep];
      for (let j = 0; j < columns; j++) {
        c[row + j] += a0 * b[b0 + j] + a1 * b[b1 + j] + a2 * b[b2 + j] + a3 * b[b3 + j];
      }
      at += 4 * innerStep;
    }
    for (; k < inner; k++, at += innerStep) {
      for (let j = 0; j < columns; j++) c[row + j] += a[at] * b[k * columns + j];
    }
  }
  return c;
}
