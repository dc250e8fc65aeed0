// Linear, Flatten and Dropout: shared/backprop/linear.py.

import { Module } from "./module.js";
import { checkShape, product, productTransposed, sizeOf, tensor, transposedProduct } from "./tensor.js";

// y = x W^T + b. Shapes: x (..., in), y (..., out), W (out, in), b (out,).
// Backward, summing over all axes of x but the last: dx = dy W, dW = dy^T x, db = sum dy.
export class Linear extends Module {
  constructor({ in_features, out_features, bias = true }) {
    super();
    this.in_features = in_features;
    this.out_features = out_features;
    this.params.weight = tensor([out_features, in_features]);
    if (bias) this.params.bias = tensor([out_features]);
  }

  forward(x) {
    const { in_features, out_features, params } = this;
    checkShape("an input", x, [...x.shape.slice(0, -1), in_features]);
    this.x = x;
    const rows = x.data.length / in_features;
    const y = productTransposed(x.data, params.weight.data, rows, in_features, out_features);
    if (params.bias) y.forEach((_, i) => (y[i] += params.bias.data[i % out_features]));
    return tensor([...x.shape.slice(0, -1), out_features], y);
  }

  backward(dy) {
    const { x, in_features, out_features, params, grads } = this;
    const rows = x.data.length / in_features;
    checkShape("a gradient", dy, [...x.shape.slice(0, -1), out_features]);
    const dweight = transposedProduct(dy.data, x.data, out_features, rows, in_features);
    grads.weight = tensor(params.weight.shape, dweight);
    if (params.bias) {
      grads.bias = tensor([out_features]);
      dy.data.forEach((value, i) => (grads.bias.data[i % out_features] += value));
    }
    return tensor(x.shape, product(dy.data, params.weight.data, rows, out_features, in_features));
  }
}

// y = x with all axes but the first merged. Backward: dx = dy, reshaped like x.
export class Flatten extends Module {
  forward(x) {
    this.shape = x.shape;
    return tensor([x.shape[0], sizeOf(x.shape.slice(1))], x.data);
  }

  backward(dy) {
    return tensor(this.shape, dy.data);
  }
}

// y = x: a finished network drops nothing. Backward: dx = dy.
export class Dropout extends Module {
  forward(x) {
    return x;
  }

  backward(dy) {
    return dy;
  }
}
