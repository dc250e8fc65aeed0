// Computes cases that are read from the standard input with the modules of tools/explore/layers, and writes
// the results: see test_explore_layers.py. A tensor is { shape, dtype, base64 } on both ways.

import { inputOf, mnistForm, toGray } from "../../tools/explore/layers/digit.js";
import { buildLoss } from "../../tools/explore/layers/losses.js";
import { LAYERS, buildNetwork, decode, loadWeights } from "../../tools/explore/layers/network.js";
import { Adam, SGD } from "../../tools/explore/layers/optimizers.js";

const OPTIMIZERS = { SGD, Adam };
const KINDS = { layer: runLayer, logits: runLogits, loss: runLoss, network: runNetwork, picture: runPicture };

function encode({ shape, data }) {
  return { shape, dtype: "float64", base64: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64") };
}

function encodeAll(tensors) {
  return Object.fromEntries(Object.entries(tensors).map(([name, x]) => [name, encode(x)]));
}

function runLayer({ type, options, weights, inputs, dy, kept }) {
  const layer = new LAYERS[type](options);
  loadWeights(layer, weights);
  const y = layer.forward(...inputs.map(decode));
  const dx = [layer.backward(decode(dy)) ?? []].flat(); // an embedding has none
  return encodeAll({ y, ...dx, ...layer.grads, ...Object.fromEntries(kept.map((name) => [name, layer[name]])) });
}

function runLoss({ name, logits, labels }) {
  const loss = buildLoss(name);
  const value = loss.forward(decode(logits), labels);
  return { value, ...encodeAll({ gradient: loss.backward() }) };
}

// Returns what the first step computes, and the weights after all steps.
function runNetwork({ description, inputs, labels, optimizer, options, steps }) {
  const network = buildNetwork(description);
  const loss = buildLoss(description.loss);
  const descent = new OPTIMIZERS[optimizer](network.params, options);
  const x = decode(inputs);
  const losses = [];
  let first = null;
  for (let step = 0; step < steps; step++) {
    losses.push(loss.forward(network.forward(x), labels));
    network.backward(loss.backward());
    first ??= encodeAll({
      ...network.grads,
      ...Object.fromEntries(network.activations.map((y, i) => [`activations ${i}`, y])),
      ...Object.fromEntries(network.gradients.map((dy, i) => [`gradients ${i}`, dy]).filter(([, dy]) => dy)),
    });
    descent.step(network.grads);
  }
  return { losses, first, last: encodeAll(network.params) };
}

// Returns a picture in MNIST's form, or null.
function runPicture({ rgba, width, height }) {
  const digit = mnistForm(toGray(decode(rgba).data), width, height);
  return digit && { pixels: [...digit.pixels], dark: digit.dark };
}

// Returns the logits of each input; bytes are pixels in MNIST's form.
function runLogits({ description, inputs }) {
  const network = buildNetwork(description);
  return inputs.map((input) => {
    const x = decode(input);
    return encode(network.forward(input.dtype === "uint8" ? inputOf(x.data, description.input) : x));
  });
}

let text = "";
for await (const part of process.stdin.setEncoding("utf8")) text += part;
process.stdout.write(JSON.stringify(JSON.parse(text).map((each) => KINDS[each.kind](each))));
