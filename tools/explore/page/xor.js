// The inputs of a network for XOR, its graph, its decision surface, and other networks to begin with.

import { LAYERS } from "../layers/network.js";
import { Sequential } from "../layers/module.js";
import { tensor } from "../layers/tensor.js";
import { make, panel, radioGroup, selectField } from "./elements.js";
import { NetworkGraph } from "./network_graph.js";
import { numberText } from "./numbers.js";
import { Session } from "./session.js";
import { Surface } from "./surface.js";

const MOST_LAYERS = 6; // hidden ones

// Returns the session that the state asks for: the run's weights, those of a deck, or new ones for any depth.
export function xorSession(description, state) {
  const deck = description.starts.find(({ name }) => name === state.get("start"));
  if (deck) return new Session({ ...description, ...deck });
  if (state.get("start") !== "drawn") return new Session(description);
  const network = drawnNetwork(description, state.get("depth"), state.get("seed"));
  return new Session(description, network);
}

// Returns a network with this number of hidden sigmoid layers, as wide as that of the run, with weights from
// U(-1/sqrt(inputs), 1/sqrt(inputs)), as torch draws them.
function drawnNetwork(description, depth, seed) {
  const [first] = description.layers;
  const random = generator(seed);
  const layers = {};
  const add = (number, options) => {
    const layer = (layers[`fc${number}`] = new LAYERS.Linear(options));
    const bound = options.in_features ** -0.5;
    for (const { data } of Object.values(layer.params))
      data.forEach((_, i) => (data[i] = bound * (2 * random() - 1)));
  };
  const { in_features: inputs, out_features: hidden, bias } = first.options;
  const hiddenLayers = Math.min(Math.max(1, Math.round(depth)), MOST_LAYERS);
  for (let number = 1; number <= hiddenLayers; number++) {
    add(number, { in_features: number === 1 ? inputs : hidden, out_features: hidden, bias });
    layers[`sigmoid${number}`] = new LAYERS.Sigmoid();
  }
  add(hiddenLayers + 1, { in_features: hidden, out_features: 1, bias });
  return new Sequential(layers);
}

// Returns a function that draws numbers from 0 to 1: a linear congruential generator (Knuth, MMIX).
function generator(seed) {
  let state = BigInt(Math.trunc(seed));
  const next = () => {
    state = (6364136223846793005n * state + 1442695040888963407n) & 0xffffffffffffffffn;
    return Number(state >> 11n) / 2 ** 53;
  };
  for (let i = 0; i < 10; i++) next(); // small seeds begin alike
  return next;
}

export class Xor {
  trainingSets = [
    ["all", "all four rows"],
    ["this", "the rows shown"],
  ];

  // choose(place) selects a number; announce(text) tells what has the focus.
  constructor(session, state, choose, announce) {
    const { description } = session;
    Object.assign(this, { session, state });
    this.rows = description.examples.map(({ input, label }) => ({ input, label }));
    const starts = [
      ["run", "the run's weights"],
      ...description.starts.map(({ name, text }) => [name, text]),
      ["drawn", "new weights, any depth"],
    ];
    this.start = selectField("Network", starts, (start) => restart({ start, ...rateOf(start) }));
    this.depth = numberField("Hidden sigmoid layers", 1, MOST_LAYERS, (depth) => restart({ depth }));
    this.seed = numberField("Seed of the weights", 0, 1e6, (seed) => restart({ seed }));
    const restart = (changes) => state.set({ ...changes, log: "", select: "", step: -1 });
    const rateOf = (start) => {
      const deck = description.starts.find(({ name }) => name === start);
      return deck?.lr ? { lr: deck.lr, optimizer: "sgd" } : {};
    };
    const choices = [
      [-1, "all four"],
      ...this.rows.map(({ input }, number) => [number, `(${input.slice(0, 2).join(", ")})`]),
    ];
    this.choice = radioGroup("Rows shown", "row", choices, (row) => state.set({ example: Number(row) }));
    this.outputs = this.rows.map(() => [make("td", { class: "number" }), make("td", {})]);
    this.element = panel(
      "XOR",
      { id: "xor-panel" },
      make("div", { class: "controls" }, this.start, this.depth, this.seed),
      this.choice,
    );
    this.prediction = this;
    this.loss = make("p", { id: "loss" });
    this.table = panel("Prediction", { id: "prediction-panel" }, this.outputTable(), this.loss);
    this.surface = new Surface(session, this.rows);
    this.graph = new NetworkGraph(session, choose, announce);
    this.wide = [make("div", { class: "pictures" }, this.graph.element, this.surface.element)];
  }

  outputTable() {
    const head = ["row", "target", "output", "class"].map((text) => make("th", { scope: "col" }, text));
    const rows = this.rows.map(({ input, label }, n) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, `(${input.slice(0, 2).join(", ")})`),
        make("td", {}, String(label)),
        ...this.outputs[n],
      ),
    );
    return make(
      "table",
      { class: "classes" },
      make("thead", {}, make("tr", {}, ...head)),
      make("tbody", {}, ...rows),
    );
  }

  // Returns the rows shown, as a batch.
  read(_, state) {
    return this.batchOf(state.get("example") in this.rows ? `r${state.get("example")}` : "all");
  }

  // Returns the batch "all", or "r2" for one row.
  batchOf(name) {
    this.batches ??= {};
    const chosen = name === "all" ? this.rows : this.rows.filter((_, n) => name === `r${n}`);
    if (!chosen.length) return null;
    const input = () =>
      tensor([chosen.length, chosen[0].input.length], Float64Array.from(chosen.flatMap((row) => row.input)));
    this.batches[name] ??= { input: input(), labels: chosen.map(({ label }) => label), name };
    return this.batches[name];
  }

  render(view) {
    const { session, state } = this;
    this.start.select.value = state.get("start");
    this.choice.choose(state.get("example") in this.rows ? state.get("example") : -1);
    for (const key of ["depth", "seed"]) {
      this[key].hidden = state.get("start") !== "drawn";
      this[key].input.value = state.get(key);
    }
    const logits = this.surface.probe.forward(this.batchOf("all").input);
    this.outputs.forEach(([output, guess], n) => {
      const p = 1 / (1 + Math.exp(-logits.data[n]));
      output.textContent = numberText(p);
      guess.textContent = Number.isFinite(p)
        ? `${Number(p >= 0.5)}${Number(p >= 0.5) === this.rows[n].label ? "" : ", wrong"}`
        : "?";
    });
    this.loss.textContent = `loss of the rows shown: ${numberText(session.lossValue, 6)}`;
    this.surface.render();
    this.graph.render(view);
  }
}

function numberField(text, min, max, onchange) {
  const input = make("input", {
    type: "number",
    min,
    max,
    step: 1,
    onchange: () => {
      const value = Math.round(Number(input.value));
      if (input.value !== "" && value >= min && value <= max) onchange(value);
    },
  });
  const field = make("label", { class: "field" }, `${text} `, input);
  field.input = input;
  return field;
}
