// The backward pass of a network that looks values up: its steps, and a card for each activation.

import { make } from "./elements.js";
import { BackwardSteps } from "./backward_steps.js";
import { ActivationPicture, WeightPicture } from "./layer_cards.js";

// What each step computes: the gradients of these activations and parameters, with the formulas.
const STEPS = [
  { name: "the loss", stages: ["logits"], loss: true },
  {
    name: "fc",
    stages: ["sum"],
    parameters: "fc",
    forward: "logits = x W\u1d40 + b, where x is the sum",
    backward: ["dx = dy W", "dW = dy\u1d40 x", "db = sum dy"],
  },
  {
    name: "sum",
    stages: ["mixture"],
    forward: "x = question + mixture",
    backward: ["a sum passes its gradient on to both summands"],
  },
  {
    name: "A v",
    stages: ["weights", "value"],
    forward: "y = A v",
    backward: ["dv = A\u1d40 dy", "dA = dy v\u1d40"],
  },
  {
    name: "softmax",
    stages: ["scores"],
    forward: "A = softmax(s)",
    backward: ["ds = A (dA \u2212 sum_keys dA A)"],
  },
  {
    name: "scores",
    stages: ["query", "key"],
    forward: "s = q k\u1d40 / \u221aE",
    backward: ["dq = ds k / \u221aE", "dk = ds\u1d40 q / \u221aE"],
  },
  {
    name: "projections",
    stages: ["question", "items"],
    parameters: "query key value attention",
    forward: "q, k and v = x W\u1d40 + b, where x is the question or the items",
    backward: ["dx = dy W, added up over all that read x", "dW = dy\u1d40 x", "db = sum dy"],
  },
  {
    name: "embedding",
    stages: ["embedded"],
    parameters: "embedding",
    forward: "y = W[x]; an item is the sum of the rows of a key and its value",
    backward: ["dW[i] = sum of dy over all positions where x = i"],
  },
];

// The symbols of the activations' gradients in these formulas.
const SYMBOLS = {
  ...{ sum: "dx", mixture: "dy", weights: "dA", value: "dv", scores: "ds", query: "dq", key: "dk" },
  ...{ question: "dx", items: "dx", embedded: "dy" },
};
// With several heads, another linear layer mixes their values.
const SEVERAL_HEADS = {
  forward: "y = W_o [A v of each head] + b_o",
  backward: ["the gradient of each head's A v is its part of dy W_o", "dv = A\u1d40 d(A v)", "dA = d(A v) v\u1d40"],
};

// Whether a step computes the gradient of a parameter.
function belongs(parameter, { name, parameters = "" }) {
  if (parameter.startsWith("attention.out_proj.")) return name === "A v";
  return parameters.split(" ").includes(parameter.split(".")[0]);
}

export class RecallSteps extends BackwardSteps {
  get count() {
    return STEPS.length - 1;
  }

  describe(step) {
    const { name, stages, loss } = STEPS[step];
    if (loss) return super.describe(0);
    const { session } = this;
    const parameters = Object.keys(session.network.params).filter((key) => belongs(key, STEPS[step]));
    const several = parameters.some((key) => key.startsWith("attention.out_proj."));
    const { forward, backward } = several ? SEVERAL_HEADS : STEPS[step];
    const shown = stages.map((stage) => ({ stage: session.stages.indexOf(stage), symbol: SYMBOLS[stage] }));
    return {
      name,
      type: name,
      forward,
      backward,
      shown: [...shown, ...parameters.map((parameter) => ({ parameter }))],
    };
  }
}

// A card for each activation, in the order of the forward pass, and one for the parameters.
export class StageCards {
  constructor(session, choose, announce) {
    const pictured = session.stages
      .map((name, stage) => ({ name, stage }))
      .filter(({ name }) => name !== "ids");
    this.cards = pictured.map(({ name, stage }) => {
      const picture = new ActivationPicture(session, stage, choose, announce);
      const step = STEPS.findIndex(({ stages }) => stages.includes(name));
      const element = make(
        "article",
        { class: "card" },
        make("h3", {}, name),
        picture.note,
        picture.picture.element,
      );
      return { picture, step, element };
    });
    const weights = Object.keys(session.network.params).filter((name) => name.endsWith("weight"));
    this.weights = weights.map((parameter) => {
      const picture = new WeightPicture(session, parameter, choose, announce);
      const step = STEPS.findIndex((one) => belongs(parameter, one));
      return {
        picture,
        step,
        element: make("article", { class: "card" }, make("h3", {}, parameter), picture.element),
      };
    });
    this.element = make(
      "div",
      { class: "cards" },
      ...[...this.cards, ...this.weights].map(({ element }) => element),
    );
  }

  render({ backward, step, place }) {
    for (const card of [...this.cards, ...this.weights]) {
      const visited = card.step <= step ? 0 : Infinity;
      card.element.classList.toggle("current", backward && card.step === step);
      card.element.classList.toggle("waiting", backward && card.step > step);
      card.picture.render({ backward, visited, place });
    }
  }
}
