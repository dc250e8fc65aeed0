// The chain rule in a network that looks values up (layers/recall.js), whose parts are not in sequence.

import { softmax } from "../layers/activations.js";
import { splitPairs } from "../layers/recall.js";
import { add, sizeOf, tensor } from "../layers/tensor.js";
import { indicesOf } from "./numbers.js";
import { Session } from "./session.js";

export class RecallSession extends Session {
  // Returns the loss when what comes after activation `stage` sees x.
  lossFrom(stage, x) {
    const { by_name: layers, attention, activations } = this.network;
    const values = Object.fromEntries(
      this.stages.map((name, at) => [name, at === stage ? x : activations[at]]),
    );
    const at = (name) => this.stages.indexOf(name);
    if (stage <= at("embedded")) [values.question, values.items] = splitPairs(values.embedded);
    if (stage <= at("items")) values.mixture = this.network.mix(values.question, values.items);
    else if (stage <= at("value"))
      values.mixture = this.merge(attention.forward(values.query, values.key, values.value));
    else if (stage === at("scores"))
      values.mixture = this.merge(weightedMean(softmax(values.scores), values.value));
    else if (stage === at("weights")) values.mixture = this.merge(weightedMean(values.weights, values.value));
    if (stage < at("sum")) values.sum = add(values.question, values.mixture);
    const { shape, data } = values.sum;
    const logits = stage < this.lastStage ? layers.fc.forward(tensor([shape[0], shape[2]], data)) : x;
    return this.loss.forward(logits, this.labels);
  }

  // Several heads are joined and projected.
  merge(mixed) {
    const { attention } = this.network.by_name;
    return attention ? attention.out_proj.forward(attention.mergeHeads(mixed)) : mixed;
  }

  // The terms of numbers whose formula passes through several heads are left out: null.
  termsOf(place) {
    const { network } = this;
    const [name, index] = [place.parameter ?? this.stages[place.stage], place.index];
    const f = TERMS[name];
    if (!f || (network.by_name.attention && !FOR_ANY_HEADS.includes(name))) return null;
    const values = Object.fromEntries(this.stages.map((stage, at) => [stage, network.activations[at]]));
    const indices = indicesOf(this.tensorAt(place).shape, index);
    const found = f({ values, indices, index, params: network.params, scale: network.attention.scale });
    const terms = found.map(([stage, at, derivative, text]) => ({
      place: { stage: this.stages.indexOf(stage), index: at },
      derivative,
      text,
    }));
    return { layer: LAYER_OF[name] ?? name.split(".")[0], terms };
  }
}

// Several heads are projected before and after they attend: weights, question and items reach more numbers then.
const FOR_ANY_HEADS = [
  ...["sum", "mixture", "scores", "query", "key", "embedded"],
  ...["fc.weight", "fc.bias", "embedding.weight"],
];
const LAYER_OF = {
  ...{
    sum: "fc",
    mixture: "sum",
    weights: "A v",
    value: "A v",
    scores: "softmax",
    query: "scores",
    key: "scores",
  },
  ...{ question: "sum, query", items: "key, value", embedded: "pairs" },
};

// For each number, the entries [stage, index, derivative, text] of the numbers that are computed from it. Only
// one example is shown at a time, so the first index of an activation is 0.
const TERMS = {
  sum: ({ indices: [, , k], params }) =>
    columnOf(params["fc.weight"], k, "W").map(([j, w, text]) => ["logits", j, w, text]),
  mixture: ({ index }) => [["sum", index, 1, "1"]],
  // mixture[e] = sum_s A[s] v[s, e]
  weights: ({ values: { value }, indices }) => {
    const s = indices.at(-1);
    const size = value.shape.at(-1);
    return range(size).map((e) => ["mixture", e, value.data[s * size + e], `v[${s}, ${e}]`]);
  },
  value: ({ values: { weights }, indices: [, s, e] }) => [["mixture", e, weights.data[s], `A[${s}]`]],
  // dA[j] / ds[i] = A[j] ([i = j] - A[i]), within a head
  scores: ({ values: { weights }, index }) => {
    const size = weights.shape.at(-1);
    const first = index - (index % size);
    return range(size).map((j) => {
      const [own, other] = [weights.data[index], weights.data[first + j]];
      const same = first + j === index;
      return [
        "weights",
        first + j,
        other * (same - own),
        same ? `A[${j}] (1 \u2212 A[${j}])` : `\u2212A[${j}] A[${index % size}]`,
      ];
    });
  },
  // s[j] = q k[j] / sqrt(E)
  query: ({ values: { key }, indices, scale }) => {
    const [length, size] = key.shape.slice(-2);
    const e = indices.at(-1);
    const head = indices.length === 4 ? indices[1] : 0;
    return range(length).map((s) => [
      "scores",
      head * length + s,
      key.data[(head * length + s) * size + e] * scale,
      `k[${s}, ${e}] / \u221aE`,
    ]);
  },
  key: ({ values: { query, key }, indices, scale }) => {
    const [length, size] = key.shape.slice(-2);
    const [head, s, e] = indices.slice(-3);
    const first = indices.length === 4 ? head : 0;
    return [["scores", first * length + s, query.data[first * size + e] * scale, `q[${e}] / \u221aE`]];
  },
  question: ({ index: k, params }) => [
    ["sum", k, 1, "1"],
    ...columnOf(params["query.weight"], k, "W_q").map(([j, w, text]) => ["query", j, w, text]),
  ],
  items: ({ values: { key }, indices: [, s, k], params }) =>
    ["key", "value"].flatMap((stage) =>
      columnOf(params[`${stage}.weight`], k, `W_${stage[0]}`).map(([j, w, text]) => [
        stage,
        s * key.shape.at(-1) + j,
        w,
        text,
      ]),
    ),
  // An item is the sum of the embeddings of a key and its value.
  embedded: ({ values: { embedded }, indices: [, place, k] }) => {
    const [, length, size] = embedded.shape;
    if (place === length - 1) return [["question", k, 1, "1"]];
    return [["items", Math.floor(place / 2) * size + k, 1, "1"]];
  },
  "embedding.weight": ({ values: { ids, embedded }, indices: [id, k] }) => {
    const size = embedded.shape.at(-1);
    const places = range(ids.data.length).filter((place) => ids.data[place] === id);
    return places.map((place) => ["embedded", place * size + k, 1, "1"]);
  },
  "fc.weight": ({ values: { sum }, indices: [j, k] }) => [["logits", j, sum.data[k], `x[${k}]`]],
  "fc.bias": ({ index }) => [["logits", index, 1, "1"]],
};
for (const [stage, source] of [
  ["query", "question"],
  ["key", "items"],
  ["value", "items"],
]) {
  TERMS[`${stage}.weight`] = ({ values, indices: [j, k] }) => {
    const [, length, size] = values[source].shape;
    return range(length).map((s) => [
      stage,
      s * size + j,
      values[source].data[s * size + k],
      `x[${s}, ${k}]`,
    ]);
  };
  TERMS[`${stage}.bias`] = ({ values, index: j }) => {
    const [, length, size] = values[source].shape;
    return range(length).map((s) => [stage, s * size + j, 1, "1"]);
  };
}

// Returns [row, number, text] of each number in a column of a matrix.
function columnOf({ shape: [rows, columns], data }, column, name) {
  return range(rows).map((row) => [row, data[row * columns + column], `${name}[${row}, ${column}]`]);
}

function range(count) {
  return Array.from({ length: count }, (_, i) => i);
}

// Returns A v, head by head, for A (..., 1, S) and v (..., S, Ev).
function weightedMean(weights, value) {
  const [length, size] = value.shape.slice(-2);
  const heads = sizeOf(value.shape) / (length * size);
  const mixed = tensor([...value.shape.slice(0, -2), 1, size]);
  for (let head = 0; head < heads; head++) {
    for (let s = 0; s < length; s++) {
      for (let e = 0; e < size; e++) {
        mixed.data[head * size + e] +=
          weights.data[head * length + s] * value.data[(head * length + s) * size + e];
      }
    }
  }
  return mixed;
}
