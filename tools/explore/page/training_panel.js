// The controls of training: optimizer, learning rate, examples, steps, undo; loss and gradients as charts.

import { button, make, makeSvg, panel, selectField } from "./elements.js";
import { meanMagnitude, numberText } from "./numbers.js";

const WIDTH = 300;
const HEIGHT = 90;

export class TrainingPanel {
  // actions: { step(count), run(on), undo(), reset() }; examples: [value, text] pairs of what to train on.
  constructor(state, examples, actions, gradientsOpen) {
    this.state = state;
    this.actions = actions;
    this.optimizer = selectField(
      "Optimizer",
      [
        ["sgd", "SGD"],
        ["adam", "Adam"],
      ],
      (value) => state.set({ optimizer: value }),
    );
    this.on = selectField("Examples", examples, (value) => state.set({ on: value }));
    this.lr = make("input", {
      id: "lr",
      type: "number",
      min: 0,
      step: "any",
      oninput: () => this.readRate(),
    });
    this.runButton = button("Run", () => actions.run(!this.running), { id: "run", "aria-pressed": "false" });
    this.undoButton = button("Undo", actions.undo, { id: "undo" });
    this.summary = make("p", { id: "training", role: "status" });
    this.warning = make("p", { id: "warning", class: "warn", role: "alert" });
    this.curve = makeSvg("path", { class: "curve" });
    this.chart = makeSvg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "chart" },
      this.curve,
    );
    this.axis = make("p", { class: "quiet" });
    this.gradients = new GradientBars(gradientsOpen);
    this.element = panel(
      "Take a step",
      { id: "training-panel" },
      make(
        "div",
        { class: "controls" },
        this.optimizer,
        make("label", { class: "field" }, "Learning rate ", this.lr),
        this.on,
      ),
      make(
        "div",
        { class: "controls" },
        button("1 step", () => actions.step(1), { id: "one-step" }),
        button("10 steps", () => actions.step(10), { id: "ten-steps" }),
        this.runButton,
        this.undoButton,
        button("Reset", actions.reset, { id: "reset" }),
      ),
      this.summary,
      this.warning,
      this.chart,
      this.axis,
      this.gradients.element,
    );
  }

  readRate() {
    const lr = Number(this.lr.value);
    if (this.lr.value !== "" && lr >= 0) this.state.set({ lr });
  }

  // `trained` says whether the last steps were on the examples whose loss is `lossNow`.
  render(trainer, lossNow, trained, running, grads) {
    const { state } = this;
    this.running = running;
    this.optimizer.select.value = state.get("optimizer");
    this.on.select.value = state.get("on");
    if (Number(this.lr.value) !== state.get("lr") || this.lr.value === "") this.lr.value = state.get("lr");
    this.runButton.textContent = running ? "Pause" : "Run";
    this.runButton.setAttribute("aria-pressed", running);
    this.undoButton.disabled = !trainer.undos.length;
    const { stepCount } = trainer;
    const [losses, firstLoss] = trained ? [trainer.losses, trainer.firstLoss] : [[], null];
    const steps = stepCount ? `${stepCount} ${stepCount === 1 ? "step" : "steps"}` : "no step yet";
    const change = trained ? `${numberText(firstLoss)} \u2192 ${numberText(lossNow)}` : numberText(lossNow);
    const summary = `${steps}; loss on these examples ${change}`;
    if (this.summary.textContent !== summary && !(running && stepCount % 50))
      this.summary.textContent = summary;
    const warning = trained ? trainer.warning(lossNow) : "";
    if (this.warning.textContent !== warning) this.warning.textContent = warning;
    this.drawCurve([...losses, lossNow]);
    this.gradients.render(grads);
  }

  drawCurve(losses) {
    const finite = losses.filter(Number.isFinite);
    const highest = Math.max(...finite, 1e-12);
    const x = (i) => (i / Math.max(1, losses.length - 1)) * (WIDTH - 4) + 2;
    const y = (loss) => HEIGHT - 3 - (loss / highest) * (HEIGHT - 8);
    const points = losses.flatMap((loss, i) =>
      Number.isFinite(loss) ? [`${x(i).toFixed(1)} ${y(loss).toFixed(1)}`] : [],
    );
    this.curve.setAttribute("d", points.length ? `M${points.join("L")}` : "");
    this.chart.setAttribute(
      "aria-label",
      `Loss of the last ${losses.length - 1} steps, from ${numberText(losses[0])} to ${numberText(losses.at(-1))}`,
    );
    this.axis.textContent =
      losses.length > 1 ? `loss from 0 to ${numberText(highest)}, last ${losses.length - 1} steps` : "";
  }
}

// The mean magnitude of the gradient of each parameter, as bars on a logarithmic scale with numbers.
class GradientBars {
  constructor(open) {
    this.body = make("tbody");
    const head = ["parameter", "mean |gradient|", ""].map((text) => make("th", { scope: "col" }, text));
    this.note = make("p", { class: "quiet" });
    this.element = make(
      "details",
      { id: "gradients", open: open ? "" : null },
      make("summary", {}, "Size of the gradients by parameter"),
      this.note,
      make(
        "div",
        { class: "scroll" },
        make("table", { class: "classes" }, make("thead", {}, make("tr", {}, ...head)), this.body),
      ),
    );
  }

  render(grads) {
    if (!grads || !this.element.open) return;
    const rows = Object.entries(grads).map(([name, { data }]) => [name, meanMagnitude(data)]);
    const largest = Math.max(...rows.map(([, size]) => size));
    const decades = 8;
    this.note.textContent = `Logarithmic bars over ${decades} powers of ten, for the example and target shown above.`;
    this.body.replaceChildren(
      ...rows.map(([name, size]) => {
        const share = size > 0 ? 1 + Math.log10(size / largest) / decades : 0;
        const bar = make("div", { class: "bar" });
        bar.style.width = `${100 * Math.max(0, share)}%`;
        return make(
          "tr",
          {},
          make("th", { scope: "row" }, name),
          make("td", { class: "number" }, numberText(size)),
          make("td", { class: "bar-cell" }, bar),
        );
      }),
    );
  }
}
