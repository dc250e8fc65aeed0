// The inputs of a network that looks values up: pairs and the key that is asked for. Shows the attention
// weights as a heat map, and the gradient through the softmax.

import { tensor } from "../layers/tensor.js";
import { button, make, panel, selectField } from "./elements.js";
import { indexOfLargest, numberText, signedText } from "./numbers.js";
import { RecallSteps, StageCards } from "./recall_steps.js";
import { batchOf } from "./session.js";
import { TensorPicture } from "./tensor_picture.js";

export class Lookups {
  trainingSets = [
    ["this", "this question"],
    ["all", "ten test examples"],
  ];

  constructor(session, state, choose, announce) {
    Object.assign(this, { session, state });
    const { description } = session;
    this.names = description.vocabulary;
    this.examples = description.examples;
    this.example = selectField(
      "Test example",
      this.examples.map((_, n) => [n, n + 1]),
      (n) => state.set({ example: Number(n), asked: -1, target: -1 }),
    );
    this.asked = selectField("Key asked for", [], (pair) => state.set({ asked: Number(pair), target: -1 }));
    this.heads = session.network.by_name.attention?.num_heads ?? 1;
    this.head = selectField(
      "Head",
      Array.from({ length: this.heads }, (_, n) => [n, n + 1]),
      (head) => state.set({ head: Number(head) }),
    );
    this.head.hidden = this.heads === 1;
    this.sentence = make("p", {});
    this.element = panel(
      "Question",
      { id: "question-panel" },
      make("div", { class: "controls" }, this.example, this.asked, this.head),
      this.sentence,
    );
    this.heat = new HeatMap(session, (pair) => state.set({ asked: pair, target: -1 }), announce);
    this.softmax = new SoftmaxTable(session, choose);
    this.wide = [this.heat.element, this.softmax.element];
    this.cards = new StageCards(session, choose, announce);
    this.choose = choose;
  }

  buildSteps(setStep) {
    return new RecallSteps(this.session, setStep, this.choose);
  }

  // Returns the ids of an example that asks for the key of another pair.
  idsOf(number, asked) {
    const ids = [...this.examples[number].input];
    if (asked >= 0) ids[ids.length - 1] = ids[2 * asked];
    return ids;
  }

  // Returns the label: the value of the pair with the key that is asked for.
  labelOf(ids) {
    const pair = ids.indexOf(ids.at(-1));
    return this.session.description.classes.indexOf(this.names[ids[pair + 1]]);
  }

  read(_, state) {
    const number = Math.min(Math.max(0, state.get("example")), this.examples.length - 1);
    const pairs = (this.examples[number].input.length - 1) / 2;
    const asked = Math.min(Math.max(-1, Math.round(state.get("asked"))), pairs - 1);
    const ids = this.idsOf(number, asked);
    const label =
      state.get("target") in this.session.description.classes ? state.get("target") : this.labelOf(ids);
    const name = `q${number}p${ids.indexOf(ids.at(-1)) / 2}t${label}`;
    if (this.current?.name !== name) {
      this.current = this.batchOf(name);
      this.showQuestion(number, ids);
    }
    return this.current;
  }

  // Returns the batch that an address calls "all", or "q3p5t7": example, pair, target.
  batchOf(name) {
    if (name === "all") {
      const examples = this.examples.slice(0, 10);
      const input = batchOf(examples.map((example) => batchOfIds(example.input)));
      this.all ??= { input, labels: examples.map(({ label }) => label), name };
      return this.all;
    }
    const [, number, asked, target] = (/^q(\d+)p(\d+)t(\d+)$/.exec(name) ?? []).map(Number);
    if (!(number in this.examples) || 2 * asked + 1 >= this.examples[number].input.length) return null;
    const ids = this.idsOf(number, asked);
    return { input: batchOfIds(ids), labels: [target], name };
  }

  // Returns the names of the pairs of the example shown: ["k07 v3", ...].
  get pairs() {
    const ids = this.current.input.data;
    return Array.from(
      { length: (ids.length - 1) / 2 },
      (_, n) => `${this.names[ids[2 * n]]} ${this.names[ids[2 * n + 1]]}`,
    );
  }

  showQuestion(number, ids) {
    const pair = ids.indexOf(ids.at(-1)) / 2;
    this.example.select.value = number;
    const options = this.pairs.map((_, n) => make("option", { value: n }, this.names[ids[2 * n]]));
    this.asked.select.replaceChildren(...options);
    this.asked.select.value = pair;
    this.sentence.textContent = `${this.pairs.join(", ")}; which value has ${this.names[ids.at(-1)]}?`;
    this.number = number;
    this.pair = pair;
  }

  renderPictures(view) {
    const questions = this.pairs.map((_, n) => this.idsOf(this.number, n));
    const head = Math.min(this.state.get("head"), this.heads - 1);
    this.head.select.value = head;
    this.heat.render(this.pairs, batchOf(questions.map(batchOfIds)), this.pair, head);
    this.session.compute({ backward: view.needsBackward });
    this.softmax.render(this.pairs, view, head);
  }
}

// Returns ids as the input of the network, a batch of one.
function batchOfIds(ids) {
  return tensor([1, ids.length], Float64Array.from(ids));
}

// Attention weights: one row for each key that may be asked for, one column for each pair.
class HeatMap {
  constructor(session, ask, announce) {
    this.session = session;
    this.picture = new TensorPicture("attention weights", {
      onPoint: (index) => announce(this.textOf(index)),
      onChoose: (index) => index !== null && ask(Math.floor(index / this.pairs.length)),
    });
    this.element = panel(
      "Attention weights",
      { id: "heat-panel" },
      make(
        "p",
        { class: "quiet" },
        "One row for each key that may be asked for, one column for each pair: the larger the weight, the ",
        "stronger the contrast to the page. Choose a row to ask for its key; the frame marks the largest ",
        "weight of the question shown.",
      ),
      this.picture.element,
    );
  }

  // Draws the weights of one head when each of the pairs is asked for.
  render(pairs, questions, asked, head) {
    const { network } = this.session;
    network.forward(questions);
    const all = network.attention.weights;
    const size = pairs.length;
    const heads = all.data.length / (size * size);
    const weights = tensor([size, size]);
    for (let row = 0; row < size; row++) {
      const start = (row * heads + head) * size;
      weights.data.set(all.data.subarray(start, start + size), row * size);
    }
    this.pairs = pairs;
    this.weights = weights.data;
    this.picture.chosen =
      asked * size + indexOfLargest(weights.data.subarray(asked * size, (asked + 1) * size));
    this.picture.draw(weights, false, `attention weights of ${size} questions`);
  }

  textOf(index) {
    const [row, column] = [Math.floor(index / this.pairs.length), index % this.pairs.length];
    return `asked for ${this.pairs[row].split(" ")[0]}: ${this.pairs[column]} has weight ${numberText(this.weights[index])}`;
  }
}

// The softmax of the question shown: scores, weights, and their gradients.
class SoftmaxTable {
  constructor(session, choose) {
    Object.assign(this, { session, choose });
    this.head = make("thead");
    this.body = make("tbody");
    this.note = make("p", {});
    this.element = panel(
      "Through the softmax",
      { id: "softmax-panel" },
      this.note,
      make("div", { class: "scroll" }, make("table", { class: "classes" }, this.head, this.body)),
    );
  }

  render(pairs, { backward, step, place }, head) {
    const { network } = this.session;
    const { scores, weights, dweights, dscores } = network.attention;
    const stage = this.session.stages.indexOf("scores");
    const columns = ["pair", "score s", "weight A"];
    if (backward) columns.push("dA", "A \u00b7 dA", "ds = A (dA \u2212 sum)");
    const products = backward
      ? pairs.map((_, n) => weights.data[head * pairs.length + n] * dweights.data[head * pairs.length + n])
      : [];
    const sum = products.reduce((total, product) => total + product, 0);
    const [hasWeights, hasScores] = [backward && step >= 3, backward && step >= 4];
    this.note.textContent = !backward
      ? "A = softmax(s): the weights are positive and add up to 1."
      : hasWeights
        ? `sum of A \u00b7 dA = ${signedText(sum)}: a step raises the scores whose dA is below this mean.`
        : "The backward pass has not reached the weights yet.";
    this.head.replaceChildren(make("tr", {}, ...columns.map((text) => make("th", { scope: "col" }, text))));
    const focused = [...this.body.querySelectorAll("button")].indexOf(document.activeElement);
    this.body.replaceChildren(
      ...pairs.map((pair, n) => {
        const index = head * pairs.length + n;
        const cells = [signedText(scores.data[index]), numberText(weights.data[index])];
        if (backward) {
          cells.push(
            ...(hasWeights ? [signedText(dweights.data[index]), signedText(products[n])] : ["", ""]),
          );
          cells.push(hasScores ? signedText(dscores.data[index]) : "");
        }
        const name = button(pair, () => this.choose({ stage, index }), {
          class: "term",
          "aria-pressed": place?.stage === stage && place.index === index,
        });
        return make(
          "tr",
          {},
          make("th", { scope: "row" }, name),
          ...cells.map((text) => make("td", { class: "number" }, text)),
        );
      }),
    );
    if (focused >= 0) this.body.querySelectorAll("button")[focused]?.focus({ preventScroll: true });
  }
}
