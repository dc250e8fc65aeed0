// The chain rule for one number, written out with the numbers of the moment.

import { chainRule, largestPath } from "./chain.js";
import { button, make, refill } from "./elements.js";
import { lossFormulas } from "./formulas.js";
import { factorText, numberText, signedText } from "./numbers.js";

const SHOWN = 3; // terms of a sum

// Returns the gradient of a place as a table of its terms.
export function sumOfTerms(session, place, choose) {
  const title = `\u2202L/\u2202${session.textOf(place)}`;
  if (place.stage === session.lastStage) return lossTerm(session, place, title);
  const rule = chainRule(session, place);
  if (!rule)
    return make(
      "p",
      {},
      "The terms are written out for a single head only; gradient and finite difference hold for several.",
    );
  const { layer, gradient, terms } = rule;
  if (!terms.length) return make("p", {}, `${title} = 0: this example does not use it.`);
  const shown = terms.length === SHOWN + 1 ? terms.length : SHOWN;
  const rows = terms.slice(0, shown).map((term) =>
    make(
      "tr",
      {},
      make(
        "td",
        {},
        button(`\u2202L/\u2202${session.textOf(term.place)}`, () => choose(term.place), { class: "term" }),
        ` = ${numberText(term.upstream)}`,
      ),
      make("td", {}, factorOf(term)),
      make("td", { class: "number" }, signedText(term.product)),
    ),
  );
  const rest = terms.slice(shown);
  if (rest.length) {
    const sum = rest.reduce((total, { product }) => total + product, 0);
    rows.push(
      make(
        "tr",
        {},
        make("td", { colspan: 2 }, `${rest.length} other terms together`),
        make("td", { class: "number" }, signedText(sum)),
      ),
    );
  }
  const head = make(
    "thead",
    {},
    make(
      "tr",
      {},
      make("th", {}, "gradient arriving"),
      make("th", {}, `factor (${layer})`),
      make("th", { class: "number" }, "product"),
    ),
  );
  const total = make(
    "tr",
    { class: "total" },
    make("th", { colspan: 2 }, `sum = ${title}`),
    make("td", { class: "number" }, signedText(gradient)),
  );
  return make(
    "div",
    { class: "scroll" },
    make("table", { class: "terms" }, head, make("tbody", {}, ...rows, total)),
  );
}

// "W[3, 17] = 0.25"; some formulas are numbers already.
function factorOf({ text, derivative }) {
  return /^[01]/.test(text) ? text : `${text} = ${numberText(derivative)}`;
}

// The gradient of a logit comes from the loss itself.
function lossTerm(session, place, title) {
  const gradient = session.gradientAt(place).data[place.index];
  const { backward } = lossFormulas(session.description.loss);
  return make(
    "p",
    {},
    make(
      "code",
      {},
      `${title}: ${backward[0]} = ${filledLoss(session, place.index)} = ${signedText(gradient)}`,
    ),
  );
}

// Returns the formula of the loss's gradient with numbers, for one logit.
export function filledLoss(session, index) {
  const size = session.logits.shape[1];
  const count = session.logits.shape[0];
  const row = Math.floor(index / size);
  const label = session.labels[row];
  if (session.binary) {
    const p = session.probabilities(row)[1];
    const difference = `(${numberText(p)} \u2212 ${label})`;
    if (session.description.loss === "binary_cross_entropy") return `${difference} / ${count}`;
    return `2 \u00b7 ${difference} / ${count} \u00b7 ${numberText(p)} \u00b7 ${numberText(1 - p)}`;
  }
  const q = label === index % size ? 1 : 0;
  const difference = `${numberText(session.probabilities(row)[index % size])} \u2212 ${q}`;
  return count === 1 ? difference : `(${difference}) / ${count}`;
}

export class Explanation {
  // choose(place) selects another number; null closes the panel.
  constructor(session, choose) {
    Object.assign(this, { session, choose });
    this.body = make("div", { id: "explanation-body" });
    this.element = make("section", { id: "explanation", "aria-label": "Chain rule", hidden: "" }, this.body);
  }

  render(place) {
    this.element.hidden = !place;
    if (!place) return;
    const { session, choose } = this;
    const value = session.tensorAt(place).data[place.index];
    const name = session.textOf(place);
    const title = make("h2", { tabindex: -1 }, `Chain rule for ${name}`);
    const heading = make("div", { class: "heading" }, title, button("Close", () => choose(null)));
    const gradient = session.gradientAt(place)?.data[place.index];
    if (gradient === undefined) {
      const note = make("p", {}, `${name} = ${numberText(value)} is a token, which has no gradient.`);
      refill(this.body, [heading, note], title);
      return;
    }
    const path = largestPath(session, place);
    const product = factorsAlong(session, path);
    const levels = path.map((one) => make("li", {}, sumOfTerms(session, one, choose)));
    const content = [
      heading,
      this.comparison(place, value, gradient),
      make(
        "p",
        {},
        "Each table is one layer further towards the loss and follows the largest term of the table before; ",
        "choose a term to follow it instead.",
      ),
      make("ol", { class: "levels" }, ...levels),
      ...(product ? [make("p", {}, make("code", {}, product))] : []),
    ];
    refill(this.body, content, title);
  }

  // Returns the gradient beside the finite difference.
  comparison(place, value, gradient) {
    const { step, above, below, slope } = this.session.finiteDifference(place);
    const difference = Math.abs(gradient - slope);
    const agree = difference <= 1e-4 * Math.max(Math.abs(gradient), Math.abs(slope)) + 1e-9;
    const verdict = agree
      ? `They differ by ${numberText(difference, 2)}.`
      : `They differ by ${numberText(difference, 2)}: a ReLU or a maximum may switch within the step.`;
    return make(
      "dl",
      { class: "comparison" },
      make("dt", {}, "value"),
      make("dd", { id: "value" }, numberText(value, 6)),
      make("dt", {}, "gradient by backpropagation"),
      make("dd", { id: "gradient" }, signed6(gradient)),
      make("dt", {}, "finite difference"),
      make(
        "dd",
        {},
        make("span", { id: "difference" }, signed6(slope)),
        ` = (${numberText(above, 10)} \u2212 ${numberText(below, 10)}) / (2 \u00b7 ${numberText(step, 2)}). ${verdict}`,
      ),
    );
  }
}

function signed6(value) {
  return value > 0 ? `+${numberText(value, 6)}` : numberText(value, 6);
}

// Returns the product of all factors along one path: the part of the gradient that flows along it.
function factorsAlong(session, path) {
  const factors = [];
  for (let i = 0; i + 1 < path.length; i++) {
    const term = chainRule(session, path[i]).terms[0];
    if (term.text !== "1") factors.push(term.derivative);
  }
  const end = path.at(-1);
  if (end.stage !== session.lastStage) return "";
  factors.push(session.gradientAt(end).data[end.index]);
  const product = factors.reduce((total, factor) => total * factor, 1);
  return `Along this path alone: ${factors.map(factorText).join(" \u00b7 ")} = ${signedText(product)}`;
}
