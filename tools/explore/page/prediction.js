// The prediction: logit and probability of each class, and the target class of the loss.

import { make, panel } from "./elements.js";
import { indexOfLargest, numberText, percentText, signedText } from "./numbers.js";

export class Prediction {
  // chooseTarget(label) sets the class that the loss compares with.
  constructor(session, chooseTarget) {
    this.session = session;
    const { classes } = session.description;
    this.headings = ["target", "class", "logit", "probability", "", "\u2202L/\u2202logit"].map((text) =>
      make("th", { scope: "col" }, text),
    );
    this.rows = classes.map((name, label) => new PredictionRow(name, label, chooseTarget));
    this.summary = make("p", { id: "prediction", role: "status" });
    this.loss = make("p", { id: "loss" });
    this.element = panel(
      "Prediction",
      { id: "prediction-panel" },
      this.summary,
      make(
        "div",
        { class: "scroll" },
        make(
          "table",
          { class: "classes" },
          make("thead", {}, make("tr", {}, ...this.headings)),
          make("tbody", {}, ...this.rows.map((row) => row.element)),
        ),
      ),
      this.loss,
    );
  }

  // view: { backward, row }, where `row` is the example of the batch.
  render({ backward, row = 0 }) {
    const { session } = this;
    const { classes } = session.description;
    const probabilities = session.probabilities(row);
    const best = indexOfLargest(probabilities);
    const finite = probabilities.every(Number.isFinite);
    const summary = finite
      ? `${classes[best]} (${percentText(probabilities[best])})`
      : "no prediction: the logits are not numbers";
    if (this.summary.textContent !== summary) this.summary.textContent = summary;
    const label = session.labels[row];
    this.loss.textContent = `loss, with target ${classes[label]}: ${numberText(session.lossValue, 6)}`;
    this.headings[4].hidden = backward; // there is no room for bars and gradients
    this.headings[5].hidden = !backward;
    const size = session.logits.shape[1];
    this.rows.forEach((one, index) => {
      const at = row * size + index;
      one.render(session.logits.data[at], probabilities[index], label === index, finite && index === best);
      one.showGradient(backward ? session.network.gradients.at(-1).data[at] : null);
    });
  }
}

class PredictionRow {
  constructor(name, label, chooseTarget) {
    this.target = make("input", {
      type: "radio",
      name: "target",
      "aria-label": `target ${name}`,
      onchange: () => chooseTarget(label),
    });
    this.logit = make("td", { class: "number" });
    this.probability = make("td", { class: "number" });
    this.gradient = make("td", { class: "number" });
    this.bar = make("div", { class: "bar" });
    this.barCell = make("td", { class: "bar-cell" }, this.bar);
    this.element = make(
      "tr",
      {},
      make("td", {}, this.target),
      make("th", { scope: "row" }, name),
      this.logit,
      this.probability,
      this.barCell,
      this.gradient,
    );
  }

  render(logit, probability, isTarget, isBest) {
    this.target.checked = isTarget;
    this.logit.textContent = signedText(logit);
    this.probability.textContent = Number.isFinite(probability) ? percentText(probability) : "?";
    this.bar.style.width = `${100 * (probability || 0)}%`;
    this.element.classList.toggle("best", isBest);
  }

  showGradient(gradient) {
    this.gradient.hidden = gradient === null;
    this.barCell.hidden = gradient !== null;
    if (gradient !== null) this.gradient.textContent = signedText(gradient);
  }
}
