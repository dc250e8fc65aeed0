// Activation functions: shared/backprop/activations.py. All but Softmax are elementwise.

import { Module } from "./module.js";
import { map, tensor } from "./tensor.js";

// y = max(x, 0). Backward: dx = dy where x > 0, else 0 (also at x = 0).
export class ReLU extends Module {
  forward(x) {
    this.x = x;
    return map(x, (value) => Math.max(value, 0));
  }

  backward(dy) {
    return map(dy, (value, i) => (this.x.data[i] > 0 ? value : 0));
  }
}

// y = 1 / (1 + exp(-x)). Backward: dx = dy * y (1 - y).
export class Sigmoid extends Module {
  forward(x) {
    this.y = map(x, sigmoid);
    return this.y;
  }

  backward(dy) {
    return map(dy, (value, i) => value * this.y.data[i] * (1 - this.y.data[i]));
  }
}

// y = tanh(x). Backward: dx = dy * (1 - y^2).
export class Tanh extends Module {
  forward(x) {
    this.y = map(x, Math.tanh);
    return this.y;
  }

  backward(dy) {
    return map(dy, (value, i) => value * (1 - this.y.data[i] * this.y.data[i]));
  }
}

// y_i = exp(x_i) / sum_j exp(x_j) along the last axis. Backward: dx_i = y_i (dy_i - sum_j dy_j y_j).
export class Softmax extends Module {
  forward(x) {
    this.y = softmax(x);
    return this.y;
  }

  backward(dy) {
    return softmaxBackward(dy, this.y);
  }
}

export function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

// The maximum is subtracted first, so that no exponential overflows.
export function softmax(x) {
  const y = tensor(x.shape);
  const size = x.shape.at(-1);
  for (let start = 0; start < x.data.length; start += size) {
    const row = x.data.subarray(start, start + size);
    const largest = row.reduce((a, b) => Math.max(a, b));
    const powers = row.map((value) => Math.exp(value - largest));
    const total = powers.reduce((sum, power) => sum + power);
    y.data.set(powers.map((power) => power / total), start);
  }
  return y;
}

// Returns dx of a softmax, given dy and its output y.
export function softmaxBackward(dy, y) {
  const dx = tensor(y.shape);
  const size = y.shape.at(-1);
  for (let start = 0; start < y.data.length; start += size) {
    let dot = 0;
    for (let i = start; i < start + size; i++) dot += dy.data[i] * y.data[i];
    for (let i = start; i < start + size; i++) dx.data[i] = y.data[i] * (dy.data[i] - dot);
  }
  return dx;
}
