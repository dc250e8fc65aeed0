// Builds the network of a run from its description (tools/explore/describe.py).

import { ReLU, Sigmoid, Softmax, Tanh } from "./activations.js";
import { Embedding, MultiheadAttention, ScaledDotProductAttention } from "./attention.js";
import { AvgPool2d, Conv2d, MaxPool2d } from "./conv.js";
import { Dropout, Flatten, Linear } from "./linear.js";
import { Sequential } from "./module.js";
import { BatchNorm2d } from "./norm.js";
import { RecallNetwork } from "./recall.js";
import { tensor } from "./tensor.js";

export const LAYERS = {
  ...{ AvgPool2d, BatchNorm2d, Conv2d, Dropout, Embedding, Flatten, Linear, MaxPool2d, MultiheadAttention },
  ...{ ReLU, ScaledDotProductAttention, Sigmoid, Softmax, Tanh },
};

// Returns the network with the run's weights.
export function buildNetwork(description) {
  const layers = {};
  for (const { type, name, options } of description.layers) layers[name] = new LAYERS[type](options);
  const network = description.app === "attention" ? new RecallNetwork(layers) : new Sequential(layers);
  loadWeights(network, description.weights);
  return network;
}

// Copies weights, as a description has them, into the parameters and buffers of a network.
export function loadWeights(network, weights) {
  for (const [name, own] of Object.entries({ ...network.params, ...network.buffers })) {
    own.data.set(decode(weights[name]).data);
  }
}

// Returns { shape, dtype, base64 } as a tensor. The bytes are little-endian, as those of every browser.
export function decode({ shape, dtype, base64 }) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const arrays = { float32: Float32Array, float64: Float64Array, uint8: Uint8Array };
  return tensor(shape, Float64Array.from(new arrays[dtype](bytes.buffer)));
}
