// A card for each layer: its output as images, or the gradient of its output, and its weights.

import { button, make, selectField } from "./elements.js";
import { formulasOf } from "./formulas.js";
import { sizeOf, tensor } from "../layers/tensor.js";
import { signedText } from "./numbers.js";
import { TensorPicture } from "./tensor_picture.js";

// Layers whose output is that of the layer before, in another form.
const SAME_NUMBERS = ["Flatten", "Dropout"];
const MATRIX = 64; // numbers
const NEVER_NEGATIVE = ["ReLU", "Sigmoid", "input", "weights"]; // layers and activations

export class LayerCards {
  // choose(place) selects a number; announce(text) tells what the cursor is on.
  constructor(session, choose, announce) {
    this.session = session;
    this.cards = session.network.layers.map(
      (layer, index) => new LayerCard(session, index, choose, announce),
    );
    this.input = new ActivationPicture(session, 0, choose, announce);
    const input = make(
      "article",
      { class: "card" },
      make("h3", {}, "input"),
      this.input.note,
      this.input.picture.element,
    );
    this.element = make("div", { class: "cards" }, input, ...this.cards.map((card) => card.element));
  }

  render(view) {
    this.input.render(view);
    for (const card of this.cards) card.render(view);
  }
}

// The picture of one of the network's activations, or of its gradient.
export class ActivationPicture {
  constructor(session, stage, choose, announce) {
    Object.assign(this, { session, stage });
    this.name = session.stages[stage];
    const layers = Object.fromEntries(
      session.network.names.map((name, at) => [name, session.network.layers[at]]),
    );
    this.type = layers[this.name]?.constructor.name ?? this.name;
    this.note = make("p", { class: "quiet" });
    this.picture = new TensorPicture(this.name, {
      onPoint: (_, text) => announce(`${this.what} ${this.name}${text}`),
      onChoose: (index) => choose(index === null ? null : { stage, index }),
    });
  }

  // view: { backward, visited, place }, where `visited` is the first layer that the backward pass has reached.
  render({ backward, visited, place }) {
    const { network } = this.session;
    const reached = backward && this.stage >= visited;
    this.what = backward ? "gradient of" : "output of";
    this.picture.element.hidden = backward && !reached;
    const ofLayer = this.stage ? "output" : "input";
    this.note.textContent = backward
      ? reached
        ? `gradient of the ${ofLayer}, \u2202L/\u2202${this.name}`
        : "not computed yet"
      : ofLayer;
    if (this.picture.element.hidden) return;
    const shown = (backward ? network.gradients : network.activations)[this.stage];
    this.picture.chosen = place?.stage === this.stage ? place.index : null;
    const diverging = backward || !NEVER_NEGATIVE.includes(this.type);
    this.picture.draw(shown, diverging, `${this.what} ${this.name}`);
  }
}

class LayerCard {
  constructor(session, index, choose, announce) {
    Object.assign(this, { session, index });
    const layer = session.network.layers[index];
    const type = layer.constructor.name;
    const name = session.network.names[index];
    this.formula = make("code", { class: "formula" });
    this.formulas = formulasOf(layer);
    this.output = new ActivationPicture(session, index + 1, choose, announce);
    this.hidden = SAME_NUMBERS.includes(type);
    this.element = make(
      "article",
      { class: "card", id: `layer-${name}` },
      make("h3", {}, name, make("span", { class: "quiet" }, ` ${type}`)),
      this.formula,
      this.output.note,
    );
    if (this.hidden) this.output.note.hidden = true;
    else this.element.append(this.output.picture.element);
    if (layer.params.weight) {
      this.weights = new WeightPicture(session, `${name}.weight`, choose, announce);
      this.element.append(this.weights.element);
    }
  }

  render(view) {
    const { backward, visited, current } = view;
    this.formula.textContent = backward ? this.formulas.backward.join("; ") : this.formulas.forward;
    this.element.classList.toggle("current", backward && current === this.index);
    this.element.classList.toggle("waiting", backward && this.index + 1 < visited);
    if (!this.hidden) this.output.render(view);
    this.weights?.render(view);
  }
}

// The weights of one output of a layer, as a picture of the shape of the layer's input.
export class WeightPicture {
  constructor(session, parameter, choose, announce) {
    Object.assign(this, { session, parameter });
    this.shape = session.network.params[parameter].shape;
    const sizes = this.shape.slice(1).reduce((product, size) => product * size, 1);
    this.whole = this.shape.length === 2 && this.shape[0] * sizes <= MATRIX; // small enough for one picture
    this.size = this.whole ? this.shape[0] * sizes : sizes;
    this.unit = 0;
    this.picture = new TensorPicture(parameter, {
      onPoint: (index) => announce(this.textOf(index)),
      onChoose: (index) =>
        choose(index === null ? null : { parameter, index: this.unit * this.size + index }),
    });
    this.field = make("input", {
      type: "number",
      min: 0,
      max: this.shape[0] - 1,
      value: 0,
      oninput: () => this.chooseUnit(Number(this.field.value)),
    });
    this.bias = parameter.replace(/weight$/, "bias");
    const label = make(
      "label",
      { class: "field" },
      `weights of output (0 to ${this.shape[0] - 1}) `,
      this.field,
    );
    label.hidden = this.whole;
    this.note = make("p", { class: "quiet" });
    this.element = make(
      "details",
      { ontoggle: () => this.last && this.render(this.last) },
      make("summary", {}, `weights (${this.shape.join(" \u00d7 ")})`),
      label,
      this.note,
      this.picture.element,
    );
    if (this.bias in session.network.params) {
      const units = Array.from({ length: this.shape[0] }, (_, unit) => [unit, unit]);
      const biases = selectField("bias of output", units, (unit) =>
        choose({ parameter: this.bias, index: Number(unit) }),
      );
      const explain = button("Explain the bias", () =>
        choose({ parameter: this.bias, index: Number(biases.select.value) }),
      );
      this.element.append(make("div", { class: "controls" }, biases, explain));
    }
  }

  chooseUnit(unit) {
    if (!Number.isInteger(unit) || unit < 0 || unit >= this.shape[0]) return;
    this.unit = unit;
    this.render(this.last);
  }

  textOf(index) {
    const place = { parameter: this.parameter, index: this.unit * this.size + index };
    const value = this.session.tensorAt(place).data[place.index];
    const gradient = this.session.gradientAt(place)?.data[place.index];
    const tail = gradient === undefined ? "" : `, its gradient ${signedText(gradient)}`;
    return `${this.session.textOf(place)} is ${signedText(value)}${tail}`;
  }

  render(view) {
    this.last = view;
    const { backward, visited, place } = view;
    const chosen = place?.parameter === this.parameter;
    if (chosen && this.chosenAt !== place.index) {
      this.unit = Math.floor(place.index / this.size);
      this.field.value = this.unit;
      this.element.open = true;
    }
    this.chosenAt = chosen ? place.index : null;
    if (!this.element.open) return;
    const { network } = this.session;
    const layer = this.session.layerOf(this.parameter);
    const computed = backward && layer >= visited;
    this.note.textContent = backward
      ? computed
        ? "gradient of the weights, dW"
        : "not computed yet"
      : "weights, W";
    this.picture.element.hidden = backward && !computed;
    if (this.picture.element.hidden) return;
    const all = (backward ? network.grads : network.params)[this.parameter];
    const part = all.data.subarray(this.unit * this.size, (this.unit + 1) * this.size);
    const inside = chosen && Math.floor(place.index / this.size) === this.unit;
    this.picture.chosen = inside ? place.index % this.size : null;
    this.picture.draw(
      tensor(this.pictureShape(layer), part),
      true,
      this.whole ? this.parameter : `weights of output ${this.unit}`,
    );
  }

  // The weights of a layer after a Flatten have the shape of what was flattened.
  pictureShape(layer) {
    if (this.whole) return this.shape;
    if (this.shape.length === 1) return [1];
    if (this.shape.length === 4) return [1, ...this.shape.slice(1)];
    const { layers, activations } = this.session.network;
    const before = layer > 0 && SAME_NUMBERS.includes(layers[layer - 1].constructor.name);
    let stage = layer;
    while (before && stage > 0 && SAME_NUMBERS.includes(layers[stage - 1].constructor.name)) stage -= 1;
    const shape = activations[stage].shape.slice(1);
    return sizeOf(shape) === this.size ? [1, ...shape] : [this.size];
  }
}
