// The network with its current input: forward pass, loss, backward pass, and the terms of the chain rule.

import { buildNetwork } from "../layers/network.js";
import { buildLoss } from "../layers/losses.js";
import { sizeOf, tensor } from "../layers/tensor.js";
import { outputsOfInput, outputsOfParameter } from "./derivatives.js";
import { indicesOf, indexText } from "./numbers.js";

export class Session {
  constructor(description, network = buildNetwork(description)) {
    this.description = description;
    this.network = network;
    this.loss = buildLoss(description.loss);
    this.binary = description.loss !== "cross_entropy";
    this.initial = copyParams(network.params);
  }

  // The names of the activations: that of input, then that of the layer whose output it is.
  get stages() {
    return this.network.stages ?? ["input", ...this.network.names];
  }

  // The index of the logits among the activations.
  get lastStage() {
    return this.stages.length - 1;
  }

  // Sets a batch of inputs with their labels, and computes everything.
  setInput(input, labels, options) {
    this.input = input;
    this.labels = labels;
    this.compute(options);
  }

  compute({ backward } = { backward: true }) {
    this.logits = this.network.forward(this.input);
    this.lossValue = this.loss.forward(this.logits, this.labels);
    if (backward) this.network.backward(this.loss.backward());
  }

  // Returns the loss when layer `first` and those after it see x.
  lossFrom(first, x) {
    for (const layer of this.network.layers.slice(first)) x = layer.forward(x);
    return this.loss.forward(x, this.labels);
  }

  // Returns the central difference of the loss with respect to one number of an activation or a parameter:
  // { step, above, below, slope }.
  finiteDifference(place) {
    const { data } = this.tensorAt(place);
    const value = data[place.index];
    const step = 1e-5 * Math.max(1, Math.abs(value));
    const lossWith = (changed) => {
      data[place.index] = changed;
      if (place.parameter) return this.loss.forward(this.network.forward(this.input), this.labels);
      return this.lossFrom(place.stage, this.network.activations[place.stage]);
    };
    const kept = this.network.activations;
    const [above, below] = [value + step, value - step].map((changed) => {
      const loss = lossWith(changed);
      this.network.activations = kept;
      return loss;
    });
    data[place.index] = value;
    this.compute(); // the layers have kept what they saw last
    return { step, above, below, slope: (above - below) / (2 * step) };
  }

  // A place is one number: { parameter: "fc1.weight", index } or { stage, index }, an index of `activations`.
  tensorAt({ parameter, stage }) {
    return parameter ? this.network.params[parameter] : this.network.activations[stage];
  }

  // Returns a gradient; undefined if there was no backward pass since the last forward pass.
  gradientAt({ parameter, stage }) {
    if (!this.network.gradients.length) return undefined;
    return parameter ? this.network.grads[parameter] : this.network.gradients[stage];
  }

  // Returns a place as it is in the address: "fc1.weight:12", "relu1:3".
  nameOf({ parameter, stage, index }) {
    return `${parameter ?? this.stages[stage]}:${index}`;
  }

  // Returns the place of such a name, or null.
  placeOf(text) {
    const [name, number] = text.split(":");
    const index = Number(number);
    const place = Object.hasOwn(this.network.params, name)
      ? { parameter: name, index }
      : { stage: this.stages.indexOf(name), index };
    if (place.stage === -1 || !Number.isInteger(index) || index < 0) return null;
    return index < this.tensorAt(place)?.data.length ? place : null;
  }

  // Returns the name of a place with its indices: "fc1.weight[3, 17]".
  textOf(place) {
    const { shape } = this.tensorAt(place);
    if (place.parameter) return `${place.parameter}[${indicesOf(shape, place.index).join(", ")}]`;
    return `${this.stages[place.stage]}${indexText(shape, place.index)}`;
  }

  // Returns what the gradient of a place is the sum of: { layer, terms }. A term is { place, derivative, text }:
  // a number that the layer computes from this one, and its derivative with respect to it.
  termsOf(place) {
    const { network } = this;
    const index = place.parameter ? this.layerOf(place.parameter) : place.stage;
    const layer = network.layers[index];
    const [x, y] = network.activations.slice(index, index + 2);
    const name = place.parameter?.slice(network.names[index].length + 1);
    const outputs = place.parameter
      ? outputsOfParameter(layer, name, x, y, place.index)
      : outputsOfInput(layer, x, y, place.index);
    const terms = outputs.map(({ output, ...term }) => ({
      place: { stage: index + 1, index: output },
      ...term,
    }));
    return { layer: network.names[index], terms };
  }

  // Returns the index of the layer that has this parameter.
  layerOf(parameter) {
    return this.network.names.findIndex((name) => parameter.startsWith(`${name}.`));
  }

  // Returns the loss and the gradients of the parameters on other examples.
  gradientsOn({ input, labels }) {
    const loss = this.loss.forward(this.network.forward(input), labels);
    this.network.backward(this.loss.backward());
    return { loss, grads: this.network.grads };
  }

  lossOn({ input, labels }) {
    return this.loss.forward(this.network.forward(input), labels);
  }

  // Returns the probability of each class for one example of the batch.
  probabilities(row = 0) {
    if (this.binary) {
      const one = 1 / (1 + Math.exp(-this.logits.data[row]));
      return [1 - one, one];
    }
    const size = this.logits.shape[1];
    const logits = this.logits.data.subarray(row * size, (row + 1) * size);
    const largest = logits.reduce((a, b) => Math.max(a, b));
    const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => power / total);
  }
}

export function copyParams(params) {
  return Object.fromEntries(Object.entries(params).map(([name, { data }]) => [name, data.slice()]));
}

export function restoreParams(params, copies) {
  for (const [name, { data }] of Object.entries(params)) data.set(copies[name]);
}

// Returns the examples of the description as { pixels or numbers, label }.
export function decodeExamples({ examples }) {
  return examples.map(({ input, label }) => {
    if (typeof input !== "string") return { numbers: input, label };
    return { pixels: Uint8Array.from(atob(input), (sign) => sign.charCodeAt(0)), label };
  });
}

// Joins inputs of one example each into a batch.
export function batchOf(inputs) {
  const shape = [inputs.length, ...inputs[0].shape.slice(1)];
  const batch = tensor(shape);
  inputs.forEach((input, n) => batch.data.set(input.data, n * sizeOf(shape.slice(1))));
  return batch;
}

// Returns a network with the same parameters that keeps what its own forward pass needs.
export function twinOf(network) {
  const copy = (module) => Object.assign(Object.create(Object.getPrototypeOf(module)), module, { grads: {} });
  const twin = copy(network);
  twin.layers = network.layers.map(copy);
  return twin;
}
