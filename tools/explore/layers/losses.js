// Losses, whose mean is taken over a batch: shared/backprop/losses.py.

import { Module } from "./module.js";
import { Sigmoid, sigmoid, softmax } from "./activations.js";
import { checkShape, map, tensor } from "./tensor.js";

// L = sum (x - y)^2 / N, with N numbers in input x and target y. Backward: dx = 2 (x - y) / N.
export class MSELoss extends Module {
  forward(input, target) {
    checkShape("a target", target, input.shape);
    this.difference = map(input, (x, i) => x - target.data[i]);
    return mean(this.difference.data.map((value) => value * value));
  }

  backward() {
    const count = this.difference.data.length;
    return map(this.difference, (value) => (2 * value) / count);
  }
}

// L = - sum (y log s(x) + (1 - y) log(1 - s(x))) / N, where s is the sigmoid, x the N logits and y the target.
// A term is computed as max(x, 0) - x y + log(1 + exp(-|x|)). Backward: dx = (s(x) - y) / N.
export class BCEWithLogitsLoss extends Module {
  forward(input, target) {
    checkShape("a target", target, input.shape);
    [this.input, this.target] = [input, target];
    const term = (x, i) => Math.max(x, 0) - x * target.data[i] + Math.log1p(Math.exp(-Math.abs(x)));
    return mean(input.data.map(term));
  }

  backward() {
    const { input, target } = this;
    return map(input, (x, i) => (sigmoid(x) - target.data[i]) / input.data.length);
  }
}

// L = - sum_n log p[n, label of n] / N with p = softmax(x); logits x (N, C), labels: N whole numbers.
// Backward: dx = (p - q) / N, where q is 1 at the label and 0 elsewhere.
export class CrossEntropyLoss extends Module {
  forward(input, labels) {
    const [count, classes] = input.shape;
    checkShape("labels", { shape: [labels.length] }, [count]);
    [this.p, this.labels] = [softmax(input), labels];
    const rows = Array.from(labels, (label, n) => {
      const row = input.data.subarray(n * classes, (n + 1) * classes);
      const largest = row.reduce((a, b) => Math.max(a, b));
      const total = row.reduce((sum, x) => sum + Math.exp(x - largest), 0);
      return Math.log(total) - (row[label] - largest);
    });
    return mean(rows);
  }

  backward() {
    const [count, classes] = this.p.shape;
    const q = (i) => (i % classes === this.labels[Math.floor(i / classes)] ? 1 : 0);
    return map(this.p, (p, i) => (p - q(i)) / count);
  }
}

// A loss of logits (N, 1) and N labels 0 or 1, after an activation if one is given.
export class BinaryLoss {
  constructor(loss, activation = null) {
    [this.loss, this.activation] = [loss, activation];
  }

  forward(logits, labels) {
    const outputs = this.activation ? this.activation.forward(logits) : logits;
    return this.loss.forward(outputs, tensor(logits.shape, Float64Array.from(labels)));
  }

  backward() {
    const doutputs = this.loss.backward();
    return this.activation ? this.activation.backward(doutputs) : doutputs;
  }
}

// Returns the loss of this name (shared/training/losses.py), with forward(logits, labels) and backward().
export function buildLoss(name) {
  switch (name) {
    case "cross_entropy":
      return new CrossEntropyLoss();
    case "binary_cross_entropy":
      return new BinaryLoss(new BCEWithLogitsLoss());
    case "squared_error":
      return new BinaryLoss(new MSELoss(), new Sigmoid());
    default:
      throw new Error(`unknown loss ${name}`);
  }
}

function mean(terms) {
  return terms.reduce((sum, term) => sum + term, 0) / terms.length;
}
