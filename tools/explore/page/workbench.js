// Everything that the pages of all networks have: prediction, layers, backward steps, chain rule, training.
// Where the inputs come from is the business of a source (digits.js, lookups.js, xor.js).

import { Explanation } from "./explanation.js";
import { BackwardSteps } from "./backward_steps.js";
import { LayerCards } from "./layer_cards.js";
import { make } from "./elements.js";
import { Prediction } from "./prediction.js";
import { Trainer } from "./trainer.js";
import { TrainingPanel } from "./training_panel.js";

const FRAME = 12; // milliseconds of training between two pictures
const PATIENCE = 5000; // milliseconds

export class Workbench {
  // buildSource(choose, announce) returns a source, which has: `element`; read(session, state) -> { input,
  // labels, name }, the chosen batch and its name in the address; batchOf(name) -> such a batch or null;
  // `trainingSets`, [value, text] pairs; and optionally a `prediction` of its own, with its `table` and
  // render(view), `wide` pictures, `cards` and buildSteps(setStep).
  constructor(session, state, buildSource) {
    Object.assign(this, { session, state });
    this.trainer = new Trainer(session);
    const choose = (place) => state.set({ select: place ? session.nameOf(place) : "" });
    const announce = (text) => (this.readout.textContent = text);
    this.readout = make("output", { id: "readout", "aria-live": "polite" });
    const source = (this.source = buildSource(choose, announce));
    this.prediction = source.prediction ?? new Prediction(session, (target) => state.set({ target }));
    this.cards = source.cards ?? new LayerCards(session, choose, announce);
    const setStep = (step) => state.set({ step });
    this.steps = source.buildSteps?.(setStep) ?? new BackwardSteps(session, setStep, choose);
    this.explanation = new Explanation(session, choose);
    this.training = new TrainingPanel(
      state,
      source.trainingSets,
      {
        step: (count) => this.takeSteps(count),
        run: (on) => this.run(on),
        undo: () => this.change(() => this.trainer.undo()),
        reset: () => this.change(() => this.trainer.reset()),
      },
      session.description.app === "xor",
    );
    this.training.gradients.element.addEventListener("toggle", () => this.schedule());
    const controls = make(
      "div",
      { class: "column" },
      source.element,
      source.table ?? this.prediction.element,
      this.training.element,
    );
    const network = make(
      "div",
      { class: "column" },
      ...(source.wide ?? []),
      this.steps.element,
      this.cards.element,
    );
    this.element = make("div", { class: "workbench" }, controls, network);
    this.dock = make("div", { class: "dock" }, this.readout, this.explanation.element);
    this.replay(state.get("log"));
  }

  // Draws in the next frame, once for all changes until then.
  schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.render();
    });
  }

  render() {
    const { session, state, source, trainer } = this;
    const backward = state.get("mode") === "backward";
    const { input, labels } = source.read(session, state);
    const showGradients = backward || state.get("select") !== "" || this.training.gradients.element.open;
    session.setInput(input, labels, { backward: showGradients });
    const { count } = this.steps;
    const step = state.get("step") < 0 ? count : Math.min(state.get("step"), count);
    const place = session.placeOf(state.get("select"));
    const view = {
      backward,
      needsBackward: showGradients,
      step,
      place,
      visited: count - step,
      current: count - step,
    };
    const set = this.trainingSet();
    const sameBatch = set.input === input && set.labels === labels;
    const loss = sameBatch ? session.lossValue : this.lossOn(set, showGradients);
    source.renderPictures?.(view);
    this.prediction.render(view);
    this.steps.render(view);
    this.cards.render(view);
    this.training.render(
      trainer,
      loss,
      set.name === trainer.trainedOn,
      Boolean(this.running),
      showGradients ? session.network.grads : null,
    );
    if (!this.running) this.explanation.render(place);
    document.documentElement.dataset.frames = Number(document.documentElement.dataset.frames ?? 0) + 1;
  }

  // Returns the loss on other examples than those shown, whose activations stay.
  lossOn(set, backward) {
    const { session, trainer } = this;
    if (this.lossAt?.name === set.name && this.lossAt.log === trainer.stepCount) return this.lossAt.loss;
    const loss = session.lossOn(set);
    session.compute({ backward });
    this.lossAt = { name: set.name, log: trainer.stepCount, loss };
    return loss;
  }

  // Returns the batch to train on.
  trainingSet() {
    const { session, state, source } = this;
    const named = state.get("on") === "this" ? null : source.batchOf(state.get("on"));
    return named ?? source.read(session, state);
  }

  takeSteps(count) {
    this.change(() => {
      this.trainer.remember();
      this.advance(count);
    });
  }

  advance(count) {
    const set = this.trainingSet();
    const optimizer = this.state.get("optimizer") === "adam" ? "adam" : "sgd";
    const settings = { optimizer, lr: this.state.get("lr"), on: set.name };
    return this.trainer.take(count, set, settings);
  }

  // Changes the weights, and notes in the address how they came about.
  change(f) {
    f();
    this.lossAt = null;
    const log = this.trainer.logText();
    this.state.set({ log: log.includes("drawing") ? "" : log });
    this.schedule();
  }

  // Trains in every frame until it is stopped or the loss is not a number.
  run(on) {
    cancelAnimationFrame(this.running);
    this.running = null;
    if (on) this.trainer.remember();
    const next = () => {
      const start = performance.now();
      let loss;
      do loss = this.advance(1);
      while (Number.isFinite(loss) && performance.now() - start < FRAME);
      this.lossAt = null;
      this.running = Number.isFinite(loss) ? requestAnimationFrame(next) : null;
      this.render();
      if (!this.running) this.change(() => {});
    };
    if (on) this.running = requestAnimationFrame(next);
    else this.change(() => {});
  }

  // Repeats the steps of a link, for as long as a reader may wait.
  replay(log) {
    const start = performance.now();
    const entries = Trainer.parseLog(log);
    for (const { optimizer, lr, on, steps } of entries) {
      const batch = this.source.batchOf(on);
      for (let i = 0; batch && i < steps && performance.now() - start < PATIENCE; i++) {
        this.trainer.take(1, batch, { optimizer, lr, on });
      }
    }
    const wanted = entries.reduce((sum, { steps }) => sum + steps, 0);
    const { stepCount } = this.trainer;
    if (stepCount < wanted) this.readout.textContent = `Repeated ${stepCount} of the link's ${wanted} steps.`;
  }

  // Ends what runs by itself.
  stop() {
    cancelAnimationFrame(this.running);
    this.running = null;
  }
}
