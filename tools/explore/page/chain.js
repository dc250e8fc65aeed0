// The chain rule for one number: its gradient as a sum over the outputs that it reaches.

import { outputsOfInput, outputsOfParameter } from "./derivatives.js";
import { indexText } from "./numbers.js";

// Returns { gradient, terms } for a place before the logits; a term is
// { place, upstream, derivative, text, product }, where `upstream` is the gradient at `place`, one layer later.
export function chainRule(session, place) {
  const { network } = session;
  const layerIndex = place.parameter ? layerOf(network, place.parameter) : place.stage;
  const layer = network.layers[layerIndex];
  const [x, y] = network.activations.slice(layerIndex, layerIndex + 2);
  const name = place.parameter?.slice(network.names[layerIndex].length + 1);
  const outputs = place.parameter
    ? outputsOfParameter(layer, name, x, y, place.index)
    : outputsOfInput(layer, x, y, place.index);
  const upstream = network.gradients[layerIndex + 1].data;
  const terms = outputs.map(({ output, derivative, text }) => ({
    place: { stage: layerIndex + 1, index: output },
    ...{ upstream: upstream[output], derivative, text, product: upstream[output] * derivative },
  }));
  terms.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
  return { layer: network.names[layerIndex], gradient: session.gradientAt(place).data[place.index], terms };
}

// Returns the places on the path to the logits that follows the largest term of each sum.
export function largestPath(session, place) {
  const path = [place];
  const last = session.network.layers.length;
  while (path.at(-1).stage !== last) {
    const [largest] = chainRule(session, path.at(-1)).terms;
    if (!largest) break; // pooling ignores this pixel
    path.push(largest.place);
  }
  return path;
}

// Returns the index of the layer that has this parameter.
export function layerOf(network, parameter) {
  return network.names.findIndex((name) => parameter.startsWith(`${name}.`));
}

// Returns the name of a place with its indices: "fc1.weight[3, 17]".
export function placeText(session, place) {
  const name = place.parameter ?? session.stages[place.stage];
  return `${name}${indexText(session.tensorAt(place).shape, place.index)}`;
}
