// Optimizer steps in the page, their history, and how to take them back.

import { Adam, SGD } from "../layers/optimizers.js";
import { copyParams, restoreParams } from "./session.js";

const KEPT_BYTES = 64e6; // of weights, for undoing
const KEPT_LOSSES = 400;

export class Trainer {
  constructor(session) {
    this.session = session;
    this.clear();
  }

  clear() {
    this.undos = [];
    this.losses = []; // the last ones
    this.firstLoss = null;
    this.log = [];
    this.optimizer = null;
    this.stepCount = 0;
  }

  // Takes optimizer steps on a batch { input, labels }. `settings` is { optimizer, lr, on }, where `on` names
  // the batch. Stops when the loss is not a number. Returns the loss before the last step.
  take(count, batch, settings) {
    this.prepare(settings);
    let loss;
    for (let i = 0; i < count; i++) {
      const result = this.session.gradientsOn(batch);
      loss = result.loss;
      this.losses.push(loss);
      this.firstLoss ??= loss;
      if (!Number.isFinite(loss)) break;
      this.grads = result.grads;
      this.optimizer.step(result.grads);
      this.log.at(-1).steps += 1;
      this.stepCount += 1;
    }
    this.losses.splice(0, this.losses.length - KEPT_LOSSES);
    return loss;
  }

  // A new kind of optimizer starts with empty moments.
  prepare({ optimizer, lr, on }) {
    const last = this.log.at(-1);
    if (!this.optimizer || last?.optimizer !== optimizer) {
      this.optimizer = new { sgd: SGD, adam: Adam }[optimizer](this.session.network.params, { lr });
    }
    this.optimizer.lr = lr;
    if (last?.on !== on) [this.losses, this.firstLoss] = [[], null]; // those of other examples
    if (last?.optimizer !== optimizer || last.lr !== lr || last.on !== on)
      this.log.push({ optimizer, lr, on, steps: 0 });
  }

  // The name of the examples that the losses are of.
  get trainedOn() {
    return this.log.at(-1)?.on;
  }

  // Keeps weights, optimizer and history, for `undo`.
  remember() {
    const { optimizer } = this;
    const params = copyParams(this.session.network.params);
    const bytes = Object.values(params).reduce((sum, { byteLength }) => sum + byteLength, 0) * 3;
    const state = optimizer && { t: optimizer.t, state: structuredClone(optimizer.state) };
    const { losses, firstLoss, stepCount } = this;
    this.undos.push({
      params,
      optimizer,
      state,
      losses: [...losses],
      firstLoss,
      stepCount,
      log: structuredClone(this.log),
    });
    this.undos.splice(0, this.undos.length - Math.max(1, Math.floor(KEPT_BYTES / bytes)));
    this.undos.splice(0, this.undos.length - 100);
  }

  undo() {
    const last = this.undos.pop();
    if (!last) return;
    restoreParams(this.session.network.params, last.params);
    const { losses, firstLoss, stepCount, log, optimizer } = last;
    Object.assign(this, { losses, firstLoss, stepCount, log, optimizer });
    if (last.optimizer) Object.assign(last.optimizer, last.state);
  }

  reset() {
    restoreParams(this.session.network.params, this.session.initial);
    this.clear();
  }

  // Says in words that a learning rate is too large; empty if the loss falls. `loss` is that of now.
  warning(loss) {
    if (this.firstLoss === null) return "";
    if (!Number.isFinite(loss)) {
      return "Diverged: the loss is not a number any more. The learning rate is too large; undo or reset.";
    }
    if (loss <= 2 * Math.max(this.firstLoss, 1e-3)) return "";
    const [before, after] = [this.firstLoss, loss].map((value) => value.toPrecision(3));
    return `The loss has risen from ${before} to ${after}: the learning rate is too large.`;
  }

  // Returns the steps so far as text for the address: "sgd,0.1,all,20;adam,0.01,e3t7,5".
  logText() {
    return this.log
      .filter(({ steps }) => steps)
      .map(({ optimizer, lr, on, steps }) => [optimizer, lr, on, steps].join())
      .join(";");
  }

  // Returns such a text as a list of steps; [] if it is not one.
  static parseLog(text) {
    const entries = text
      .split(";")
      .filter(Boolean)
      .map((entry) => {
        const [optimizer, lr, on, steps] = entry.split(",");
        return { optimizer, lr: Number(lr), on, steps: Number(steps) };
      });
    const valid = ({ optimizer, lr, steps }) =>
      ["sgd", "adam"].includes(optimizer) && lr >= 0 && steps > 0 && steps <= 1e5;
    return entries.every(valid) ? entries : [];
  }
}
