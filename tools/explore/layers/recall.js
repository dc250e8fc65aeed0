// The networks that look values up: apps/attention/numpy_model.py.

import { Module, Sequential } from "./module.js";
import { ScaledDotProductAttention } from "./attention.js";
import { add, tensor } from "./tensor.js";

// ids (N, 2 P + 1): key, value, ..., key, value, and the key that is asked for, to logits (N, values). The
// embedding of that key is the question (N, 1, E), the sum of those of a key and its value an item (N, P, E).
// Attention mixes the items, and the last layer sees the sum of question and mixture.
//
// After `forward`, activations[i] is what stages[i] names; after `backward`, gradients[i] is its gradient.
// With several heads, query, key, value, scores and weights have an axis of heads after the first.
export class RecallNetwork extends Module {
  stages = "ids embedded question items query key value scores weights mixture sum logits".split(" ");

  // Takes the layers by name: embedding, dropout, fc, and query, key, value or a MultiheadAttention `attention`.
  constructor(layers) {
    super();
    this.names = Object.keys(layers);
    this.layers = Object.values(layers);
    this.by_name = layers;
    this.attention = layers.attention?.attention ?? new ScaledDotProductAttention();
    this.parts = new Sequential(layers); // for the names of the parameters
    this.params = this.parts.params;
  }

  forward(ids) {
    const { embedding, dropout, fc } = this.by_name;
    const embedded = embedding.forward(ids);
    const [question, items] = splitPairs(embedded);
    const mixture = this.mix(question, items);
    const sum = add(question, mixture);
    const logits = fc.forward(dropout.forward(tensor([sum.shape[0], sum.shape[2]], sum.data)));
    const { query, key, value, scores, weights } = this.attention;
    this.activations = [ids, embedded, question, items, query, key, value, scores, weights, mixture, sum, logits];
    this.gradients = [];
    return logits;
  }

  // Question and mixture are added, so both get the gradient of the sum; an item is the sum of two embeddings,
  // so both get the gradient of the item.
  backward(dlogits) {
    const { embedding, dropout, fc } = this.by_name;
    const { data } = dropout.backward(fc.backward(dlogits));
    const dsum = tensor(this.activations.at(-2).shape, data);
    const [dthrough, ditems] = this.mixBackward(dsum);
    const dquestion = add(dsum, dthrough);
    const dembedded = joinPairs(dquestion, ditems);
    embedding.backward(dembedded);
    this.grads = this.parts.collect("grads");
    const { dquery, dkey, dvalue, dscores, dweights } = this.attention;
    const inside = [dquery, dkey, dvalue, dscores, dweights];
    this.gradients = [null, dembedded, dquestion, ditems, ...inside, dsum, dsum, dlogits];
    return null;
  }

  // Returns the mixture (N, 1, E).
  mix(question, items) {
    const { query, key, value, attention } = this.by_name;
    if (attention) return attention.forward(question, items, items);
    return this.attention.forward(query.forward(question), key.forward(items), value.forward(items));
  }

  // Returns the gradients of question and items; the items are keys and values, whose gradients are added.
  mixBackward(dmixture) {
    const { query, key, value, attention } = this.by_name;
    const [dquery, dkey, dvalue] = (attention ?? this.attention).backward(dmixture);
    if (attention) return [dquery, add(dkey, dvalue)];
    return [query.backward(dquery), add(key.backward(dkey), value.backward(dvalue))];
  }
}

// Returns the question (N, 1, E) and the items (N, P, E) of x (N, 2 P + 1, E).
export function splitPairs(x) {
  const [count, length, size] = x.shape;
  const pairs = (length - 1) / 2;
  const [question, items] = [tensor([count, 1, size]), tensor([count, pairs, size])];
  x.data.forEach((value, i) => {
    const [n, place, column] = [Math.floor(i / (length * size)), Math.floor(i / size) % length, i % size];
    if (place === length - 1) question.data[n * size + column] = value;
    else items.data[(n * pairs + Math.floor(place / 2)) * size + column] += value;
  });
  return [question, items];
}

// Returns the gradient of x, given those of question and items.
function joinPairs(dquestion, ditems) {
  const [count, pairs, size] = ditems.shape;
  const length = 2 * pairs + 1;
  const dx = tensor([count, length, size]);
  dx.data.forEach((_, i) => {
    const [n, place, column] = [Math.floor(i / (length * size)), Math.floor(i / size) % length, i % size];
    const item = (n * pairs + Math.floor(place / 2)) * size + column;
    dx.data[i] = place === length - 1 ? dquestion.data[n * size + column] : ditems.data[item];
  });
  return dx;
}
