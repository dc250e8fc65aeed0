// The slider through the layers, in the order in which backpropagation visits them, with the formula of the
// step and its terms in numbers.

import { button, make, panel, refill } from "./elements.js";
import { filledLoss, sumOfTerms } from "./explanation.js";
import { formulasOf, lossFormulas } from "./formulas.js";
import { indexOfLargest, indexText, numberText, signedText } from "./numbers.js";

export class BackwardSteps {
  constructor(session, setStep, choose) {
    Object.assign(this, { session, setStep, choose });
    this.slider = make("input", {
      type: "range",
      id: "step",
      min: 0,
      max: this.count,
      step: 1,
      "aria-label": "Step of the backward pass",
      oninput: () => setStep(Number(this.slider.value)),
    });
    this.title = make("h3", { role: "status", tabindex: -1 });
    this.body = make("div", { id: "step-body" });
    const move = (by) => setStep(Math.min(this.count, Math.max(0, Number(this.slider.value) + by)));
    this.element = panel(
      "Backward pass, step by step",
      { id: "backward" },
      make(
        "div",
        { class: "controls" },
        button("\u2190 Back", () => move(-1)),
        this.slider,
        button("Next \u2192", () => move(1)),
      ),
      this.title,
      this.body,
    );
  }

  // The number of steps after that of the loss.
  get count() {
    return this.session.network.layers.length;
  }

  // Returns { name, type, forward, backward, shown } of a step: its formulas, and the tensors whose gradients it
  // computes, as places without an index, with their symbols in the formulas.
  describe(step) {
    const { session, count } = this;
    const { loss } = session.description;
    if (step === 0) return { name: "the loss", type: loss, ...lossFormulas(loss), shown: [] };
    const layer = count - step;
    const own = session.network.layers[layer];
    const name = session.network.names[layer];
    const parameters = Object.keys(own.params).map((key) => ({ parameter: `${name}.${key}` }));
    return { name, type: own.constructor.name, ...formulasOf(own), shown: [{ stage: layer, symbol: "dx" }, ...parameters] };
  }

  render({ backward, step, place }) {
    this.element.hidden = !backward;
    if (!backward) return;
    const { count } = this;
    const { name, type, forward, backward: formulas, shown } = this.describe(step);
    this.slider.value = step;
    this.slider.setAttribute("aria-valuetext", `step ${step} of ${count}: ${name}`);
    const title = `Step ${step} of ${count}: ${name}${type === name ? "" : ` (${type})`}`;
    if (this.title.textContent !== title) this.title.textContent = title;
    const content = [
      make("p", {}, "Forward: ", make("code", {}, forward)),
      make("p", {}, "Backward: ", ...codes(formulas)),
    ];
    content.push(...(step ? this.terms(shown, place) : this.lossTerms()));
    refill(this.body, content, this.title);
  }

  lossTerms() {
    const { session } = this;
    const gradient = session.network.gradients.at(-1);
    const items = Array.from(gradient.data.subarray(0, 20), (value, index) =>
      make(
        "li",
        {},
        make(
          "code",
          {},
          `dx${indexText(gradient.shape, index)} = ${filledLoss(session, index)} = ${signedText(value)}`,
        ),
      ),
    );
    return [
      make("p", {}, `L = ${numberText(session.lossValue, 6)}`),
      make("ul", { class: "filled" }, ...items),
    ];
  }

  // Returns the chosen number of each tensor, else its largest gradient, as a sum of its terms.
  terms(shown, place) {
    const { session } = this;
    return shown.flatMap((one) => {
      const gradient = session.gradientAt(one);
      if (!gradient) return [];
      const isChosen = place && place.parameter === one.parameter && place.stage === one.stage;
      const index = isChosen ? place.index : indexOfLargest(gradient.data.map(Math.abs));
      const which = isChosen ? "the chosen number" : "the largest number";
      const name = one.parameter ?? session.stages[one.stage];
      return [
        make("h4", {}, `${one.symbol ? `${one.symbol} = ` : ""}\u2202L/\u2202${name}, ${which}`),
        sumOfTerms(session, { ...one, index }, this.choose),
      ];
    });
  }
}

function codes(texts) {
  return texts.flatMap((text, i) => (i ? ["; ", make("code", {}, text)] : [make("code", {}, text)]));
}
