// The slider through the layers, in the order in which backpropagation visits them, with the formula of the
// step and its terms in numbers.

import { button, make, panel } from "./elements.js";
import { filledLoss, sumOfTerms } from "./explanation.js";
import { formulasOf } from "./formulas.js";
import { indexOfLargest, indexText, numberText, signedText } from "./numbers.js";

export class BackwardSteps {
  constructor(session, setStep, choose) {
    Object.assign(this, { session, setStep, choose });
    this.count = session.network.layers.length;
    this.slider = make("input", {
      type: "range", id: "step", min: 0, max: this.count, step: 1, "aria-label": "Step of the backward pass",
      oninput: () => setStep(Number(this.slider.value)),
    });
    this.title = make("h3", { role: "status" });
    this.body = make("div", { id: "step-body" });
    const move = (by) => setStep(Math.min(this.count, Math.max(0, Number(this.slider.value) + by)));
    this.element = panel("Backward pass, step by step", { id: "backward" },
      make("div", { class: "controls" }, button("\u2190 Back", () => move(-1)), this.slider, button("Next \u2192", () => move(1))),
      this.title, this.body);
  }

  render({ backward, step, place }) {
    this.element.hidden = !backward;
    if (!backward) return;
    const { session, count } = this;
    const layer = count - step;
    const name = step ? session.network.names[layer] : "the loss";
    this.slider.value = step;
    this.slider.setAttribute("aria-valuetext", `step ${step} of ${count}: ${name}`);
    const type = step ? session.network.layers[layer].constructor.name : session.description.loss;
    const title = `Step ${step} of ${count}: ${name} (${type})`;
    if (this.title.textContent !== title) this.title.textContent = title;
    const { forward, backward: formulas } = formulasOf(type);
    const content = [make("p", {}, "Forward: ", make("code", {}, forward)), make("p", {}, "Backward: ", ...codes(formulas))];
    content.push(...(step ? this.layerTerms(layer, place) : this.lossTerms()));
    this.body.replaceChildren(...content);
  }

  lossTerms() {
    const { session } = this;
    const gradient = session.network.gradients.at(-1);
    const items = Array.from(gradient.data.subarray(0, 20), (value, index) => make("li", {},
      make("code", {}, `dx${indexText(gradient.shape, index)} = ${filledLoss(session, index)} = ${signedText(value)}`)));
    return [make("p", {}, `L = ${numberText(session.lossValue, 6)}`), make("ul", { class: "filled" }, ...items)];
  }

  // Returns the chosen number of this layer's input, else its largest gradient, and the same for each parameter.
  layerTerms(layer, place) {
    const { session } = this;
    const { network } = session;
    const own = (one) => place && place.parameter === one.parameter && place.stage === one.stage;
    const shown = [{ stage: layer }];
    for (const name of Object.keys(network.layers[layer].params)) shown.push({ parameter: `${network.names[layer]}.${name}` });
    const symbols = { undefined: "dx", weight: "dW", bias: "db" };
    return shown.flatMap((one) => {
      const gradient = session.gradientAt(one);
      const index = own(one) ? place.index : indexOfLargest(gradient.data.map(Math.abs));
      const symbol = symbols[one.parameter?.split(".").at(-1)];
      const which = own(one) ? "the chosen number" : "the largest";
      return [
        make("h4", {}, `${symbol}, ${which}`),
        sumOfTerms(session, { ...one, index }, this.choose),
      ];
    });
  }
}

function codes(texts) {
  return texts.flatMap((text, i) => (i ? ["; ", make("code", {}, text)] : [make("code", {}, text)]));
}
