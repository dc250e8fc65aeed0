// Attention, and the embedding of tokens: shared/backprop/attention.py and linear.py.

import { Module } from "./module.js";
import { Linear } from "./linear.js";
import { softmax, softmaxBackward } from "./activations.js";
import { map, product, productTransposed, sizeOf, tensor, transposedProduct } from "./tensor.js";

// y = W[x], row x of a table. Shapes: x (...) of whole numbers, y (..., embedding_dim).
// Backward: dW[i] = sum of dy over all positions where x = i. Whole numbers have no gradient: it returns null.
export class Embedding extends Module {
  constructor({ num_embeddings, embedding_dim }) {
    super();
    this.params.weight = tensor([num_embeddings, embedding_dim]);
  }

  forward(x) {
    this.x = x;
    const table = this.params.weight;
    const size = table.shape[1];
    const y = tensor([...x.shape, size]);
    x.data.forEach((id, at) => y.data.set(table.data.subarray(id * size, (id + 1) * size), at * size));
    return y;
  }

  backward(dy) {
    const gradient = (this.grads.weight = tensor(this.params.weight.shape));
    const size = gradient.shape[1];
    dy.data.forEach((value, i) => {
      gradient.data[this.x.data[Math.floor(i / size)] * size + (i % size)] += value;
    });
    return null;
  }
}

// y = A v, A = softmax(s) over the keys, s = q k^T / sqrt(E).
// Shapes: q (..., L, E), k (..., S, E), v (..., S, Ev), y (..., L, Ev), s and A (..., L, S).
// After `forward`, `scores` holds s and `weights` A. Backward, which keeps all of these:
//   dv = A^T dy, dA = dy v^T, ds = A * (dA - sum_keys dA * A), dq = ds k / sqrt(E), dk = ds^T q / sqrt(E).
export class ScaledDotProductAttention extends Module {
  forward(query, key, value) {
    Object.assign(this, { query, key, value });
    const [L, S, E, Ev] = [query.shape.at(-2), ...key.shape.slice(-2), value.shape.at(-1)];
    this.scale = E ** -0.5;
    const s = byMatrix(query, key, [L, S], (q, k) => productTransposed(q, k, L, E, S));
    this.scores = map(s, (score) => score * this.scale);
    this.weights = softmax(this.scores);
    return byMatrix(this.weights, value, [L, Ev], (A, v) => product(A, v, L, S, Ev));
  }

  backward(dy) {
    const { query, key, value, weights, scale } = this;
    const [L, S, E, Ev] = [query.shape.at(-2), ...key.shape.slice(-2), value.shape.at(-1)];
    this.dvalue = byMatrix(weights, dy, [S, Ev], (A, d) => transposedProduct(A, d, S, L, Ev));
    this.dweights = byMatrix(dy, value, [L, S], (d, v) => productTransposed(d, v, L, Ev, S));
    this.dscores = softmaxBackward(this.dweights, weights);
    const scaled = map(this.dscores, (gradient) => gradient * scale);
    this.dquery = byMatrix(scaled, key, [L, E], (ds, k) => product(ds, k, L, S, E));
    this.dkey = byMatrix(scaled, query, [S, E], (ds, q) => transposedProduct(ds, q, S, L, E));
    return [this.dquery, this.dkey, this.dvalue];
  }
}

// y = W_o [head_1 ... head_h] + b_o, head_i = attention(q W_q^T + b_q, k W_k^T + b_k, v W_v^T + b_v): each head
// sees its own embed_dim / num_heads columns. Shapes: q and y (N, L, embed_dim), k and v (N, S, embed_dim);
// in_proj_weight (3 embed_dim, embed_dim) stacks W_q, W_k and W_v.
// Backward: that of Linear, then of scaled dot-product attention, then of three Linear layers.
export class MultiheadAttention extends Module {
  constructor({ embed_dim, num_heads }) {
    super();
    this.num_heads = num_heads;
    this.attention = new ScaledDotProductAttention();
    const linear = () => new Linear({ in_features: embed_dim, out_features: embed_dim });
    this.projections = [linear(), linear(), linear()];
    this.out_proj = linear();
    this.params.in_proj_weight = tensor([3 * embed_dim, embed_dim]);
    this.params.in_proj_bias = tensor([3 * embed_dim]);
    this.projections.forEach((projection, number) => {
      for (const name of ["weight", "bias"]) {
        const { shape } = projection.params[name]; // a view of the stack, so that an update reaches both
        const [start, size] = [number * sizeOf(shape), sizeOf(shape)];
        const part = this.params[`in_proj_${name}`].data.subarray(start, start + size);
        projection.params[name] = tensor(shape, part);
      }
    });
    for (const name of ["weight", "bias"]) this.params[`out_proj.${name}`] = this.out_proj.params[name];
  }

  forward(query, key, value) {
    const inputs = [query, key, value];
    const heads = this.projections.map((projection, n) => this.splitHeads(projection.forward(inputs[n])));
    return this.out_proj.forward(this.mergeHeads(this.attention.forward(...heads)));
  }

  backward(dy) {
    const dheads = this.attention.backward(this.splitHeads(this.out_proj.backward(dy)));
    const dinputs = this.projections.map((projection, n) => projection.backward(this.mergeHeads(dheads[n])));
    for (const name of ["weight", "bias"]) {
      const stack = (this.grads[`in_proj_${name}`] = tensor(this.params[`in_proj_${name}`].shape));
      this.projections.forEach(({ grads }, n) => stack.data.set(grads[name].data, n * grads[name].data.length));
      this.grads[`out_proj.${name}`] = this.out_proj.grads[name];
    }
    return dinputs;
  }

  // Returns (N, L, embed_dim) as (N, heads, L, embed_dim / heads).
  splitHeads(x) {
    const [count, length, size] = x.shape;
    return swapMiddle(tensor([count, length, this.num_heads, size / this.num_heads], x.data));
  }

  // Returns (N, heads, L, embed_dim / heads) as (N, L, embed_dim).
  mergeHeads(x) {
    const [count, heads, length, size] = x.shape;
    return tensor([count, length, heads * size], swapMiddle(x).data);
  }
}

// Returns f(a, b) of each pair of matrices that the last two axes of x and y hold, each of this shape.
function byMatrix(x, y, shape, f) {
  const [sizeX, sizeY] = [sizeOf(x.shape.slice(-2)), sizeOf(y.shape.slice(-2))];
  const result = tensor([...x.shape.slice(0, -2), ...shape]);
  for (let n = 0; n * sizeX < x.data.length; n++) {
    const a = x.data.subarray(n * sizeX, (n + 1) * sizeX);
    const b = y.data.subarray(n * sizeY, (n + 1) * sizeY);
    result.data.set(f(a, b), n * sizeOf(shape));
  }
  return result;
}

// Returns x (A, B, C, D) as (A, C, B, D).
function swapMiddle(x) {
  const [outer, rows, columns, size] = x.shape;
  const y = tensor([outer, columns, rows, size]);
  for (let from = 0; from * size < x.data.length; from++) {
    const [n, row, column] = [Math.floor(from / (rows * columns)), Math.floor(from / columns) % rows, from % columns];
    const to = (n * columns + column) * rows + row;
    y.data.set(x.data.subarray(from * size, (from + 1) * size), to * size);
  }
  return y;
}
