// The derivatives of one layer's outputs with respect to one number that the layer reads: the factors of the
// chain rule. Each entry is { output, derivative, text }: the index of an output, the derivative of it, and
// the same as a formula.

import { AvgPool2d, Conv2d, MaxPool2d } from "../layers/conv.js";
import { BatchNorm2d } from "../layers/norm.js";
import { Linear } from "../layers/linear.js";
import { ReLU, Sigmoid, Tanh } from "../layers/activations.js";
import { sizeOf } from "../layers/tensor.js";
import { indexText, indicesOf } from "./numbers.js";

// Returns the outputs that number `index` of the input x reaches; y is the output.
export function outputsOfInput(layer, x, y, index) {
  if (layer instanceof Linear) return linearOutputs(layer, index);
  if (layer instanceof Conv2d) return convOutputs(layer, x, y, index);
  if (layer instanceof MaxPool2d) return maxPoolOutputs(layer, x, y, index);
  if (layer instanceof AvgPool2d) return avgPoolOutputs(layer, x, y, index);
  return [elementwiseOutput(layer, x, y, index)];
}

// Returns the outputs that number `index` of the parameter `name` reaches.
export function outputsOfParameter(layer, name, x, y, index) {
  if (layer instanceof Linear) return linearUses(layer, name, x, index);
  if (layer instanceof Conv2d) return convUses(layer, name, x, y, index);
  if (layer instanceof BatchNorm2d) return normUses(layer, name, y, index);
  throw new Error(`${layer.constructor.name} has no parameter ${name}`);
}

function elementwiseOutput(layer, x, y, index) {
  const [before, after] = [x.data[index], y.data[index]];
  const entry = (derivative, text) => ({ output: index, derivative, text });
  if (layer instanceof ReLU)
    return entry(before > 0 ? 1 : 0, before > 0 ? "1, as x > 0" : "0, as x \u2264 0");
  if (layer instanceof Sigmoid) return entry(after * (1 - after), "y (1 \u2212 y)");
  if (layer instanceof Tanh) return entry(1 - after * after, "1 \u2212 y\u00b2");
  if (layer instanceof BatchNorm2d) {
    const channel = layer.channel(index);
    return entry(
      layer.scale[channel] * layer.params.weight.data[channel],
      `\u03b3[${channel}] / \u221a(v[${channel}] + \u03b5)`,
    );
  }
  return entry(1, "1"); // Flatten, and Dropout in evaluation
}

// y[n, o] = sum_i x[n, i] W[o, i] + b[o]
function linearOutputs({ in_features, out_features, params }, index) {
  const [row, column] = [Math.floor(index / in_features), index % in_features];
  return Array.from({ length: out_features }, (_, o) => ({
    output: row * out_features + o,
    derivative: params.weight.data[o * in_features + column],
    text: `W[${o}, ${column}]`,
  }));
}

function linearUses({ in_features, out_features }, name, x, index) {
  const rows = x.data.length / in_features;
  const [o, column] = name === "bias" ? [index, null] : indicesOf([out_features, in_features], index);
  return Array.from({ length: rows }, (_, row) => ({
    output: row * out_features + o,
    derivative: column === null ? 1 : x.data[row * in_features + column],
    text: column === null ? "1" : `x${indexText(x.shape, row * in_features + column)}`,
  }));
}

// Calls f(place, position) for each place of the window that contains the pixel, and its position there.
function forEachPlace({ kernel_size, stride, padding }, [row, column], [rows, columns], f) {
  for (let i = 0; i < kernel_size[0]; i++) {
    for (let j = 0; j < kernel_size[1]; j++) {
      const [top, left] = [row + padding[0] - i, column + padding[1] - j];
      if (top % stride[0] || left % stride[1]) continue;
      const [r, c] = [top / stride[0], left / stride[1]];
      if (r >= 0 && r < rows && c >= 0 && c < columns) f([r, c], [i, j]);
    }
  }
}

// y[n, o, r, c] = b[o] + sum_(k, i, j) W[o, k, i, j] x[n, k, r + i, c + j]
function convOutputs(layer, x, y, index) {
  const { weight } = layer.params;
  const [n, k, row, column] = indicesOf(x.shape, index);
  const found = [];
  for (let o = 0; o < y.shape[1]; o++) {
    forEachPlace(layer, [row, column], y.shape.slice(2), (place, position) => {
      const at = indexAt(weight.shape, [o, k, ...position]);
      found.push({
        output: indexAt(y.shape, [n, o, ...place]),
        derivative: weight.data[at],
        text: `W[${o}, ${k}, ${position.join(", ")}]`,
      });
    });
  }
  return found;
}

function convUses(layer, name, x, y, index) {
  const [count, , rows, columns] = y.shape;
  const [o, k, i, j] = name === "bias" ? [index] : indicesOf(layer.params.weight.shape, index);
  const found = [];
  for (let n = 0; n < count; n++) {
    for (let place = 0; place < rows * columns; place++) {
      const [r, c] = [Math.floor(place / columns), place % columns];
      const output = indexAt(y.shape, [n, o, r, c]);
      if (name === "bias") {
        found.push({ output, derivative: 1, text: "1" });
        continue;
      }
      const [row, column] = [
        r * layer.stride[0] + i - layer.padding[0],
        c * layer.stride[1] + j - layer.padding[1],
      ];
      if (row < 0 || row >= x.shape[2] || column < 0 || column >= x.shape[3]) continue;
      const pixel = indexAt(x.shape, [n, k, row, column]);
      found.push({ output, derivative: x.data[pixel], text: `x${indexText(x.shape, pixel)}` });
    }
  }
  return found;
}

function maxPoolOutputs(layer, x, y, index) {
  const image = sizeOf(x.shape.slice(1));
  const [n, k, row, column] = indicesOf(x.shape, index);
  const found = [];
  forEachPlace(layer, [row, column], y.shape.slice(2), (place) => {
    const output = indexAt(y.shape, [n, k, ...place]);
    const wins = layer.pixels[layer.winners[output]] === index % image;
    const text = wins ? "1, as x is the maximum" : "0, as x is not the maximum";
    found.push({ output, derivative: wins ? 1 : 0, text });
  });
  return found;
}

function avgPoolOutputs(layer, x, y, index) {
  const [n, k, row, column] = indicesOf(x.shape, index);
  const size = sizeOf(layer.kernel_size);
  const found = [];
  forEachPlace(layer, [row, column], y.shape.slice(2), (place) => {
    found.push({ output: indexAt(y.shape, [n, k, ...place]), derivative: 1 / size, text: `1/${size}` });
  });
  return found;
}

function normUses(layer, name, y, index) {
  const found = [];
  for (let output = 0; output < y.data.length; output++) {
    if (layer.channel(output) !== index) continue;
    const isBias = name === "bias";
    found.push({
      output,
      derivative: isBias ? 1 : layer.xhat.data[output],
      text: isBias ? "1" : `x\u0302${indexText(y.shape, output)}`,
    });
  }
  return found;
}

function indexAt(shape, indices) {
  return indices.reduce((at, index, axis) => at * shape[axis] + index, 0);
}
