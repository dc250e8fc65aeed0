// Starts the page: reads the run's description, and shows its network.

import { Digits } from "./digits.js";
import { make, radioGroup, selectField } from "./elements.js";
import { Lookups } from "./lookups.js";
import { percentText } from "./numbers.js";
import { RecallSession } from "./recall_session.js";
import { Session } from "./session.js";
import { State } from "./state.js";
import { Workbench } from "./workbench.js";
import { Xor, xorSession } from "./xor.js";

const NEW_NETWORK = ["start", "depth", "seed"]; // choices that replace the network
const DEFAULTS = {
  ...{ mode: "forward", step: -1, example: 0, drawing: "", target: -1, select: "" },
  ...{ optimizer: "sgd", lr: 0.1, on: "this", log: "", theme: "auto" },
  ...{ start: "run", depth: 1, seed: 0, asked: -1, head: 0 },
};
const OWN_DEFAULTS = { xor: { example: -1, on: "all", lr: 0.5 } };

function start() {
  const description = JSON.parse(document.getElementById("description").textContent);
  const state = new State({ ...DEFAULTS, ...OWN_DEFAULTS[description.app] });
  const root = document.getElementById("main");
  const place = make("div");
  let workbench;
  const build = () => {
    workbench?.stop();
    workbench = buildWorkbench(description, state);
    place.replaceChildren(workbench.element, workbench.dock);
    workbench.render();
  };
  const mode = radioGroup(
    "Show",
    "mode",
    [
      ["forward", "Forward"],
      ["backward", "Backward"],
    ],
    (value) => state.set({ mode: value }),
  );
  const theme = selectField(
    "Colors",
    [
      ["auto", "as the system"],
      ["light", "light"],
      ["dark", "dark"],
    ],
    (value) => state.set({ theme: value }),
  );
  const applyChoices = () => {
    mode.choose(state.get("mode"));
    theme.select.value = state.get("theme");
    if (state.get("theme") === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = state.get("theme");
  };
  applyChoices();
  root.append(header(description), make("div", { class: "controls", id: "mode-bar" }, mode, theme), place);
  state.onChange((changed) => {
    applyChoices();
    if (changed.some((key) => NEW_NETWORK.includes(key))) build();
    else workbench.schedule();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => workbench.schedule());
  build();
  document.documentElement.dataset.ready = performance.now().toFixed(0); // for the test of its speed
}

function buildWorkbench(description, state) {
  if (description.app === "mnist_cnn") {
    return new Workbench(new Session(description), state, () => new Digits(description, state));
  }
  if (description.app === "attention") {
    const session = new RecallSession(description);
    return new Workbench(session, state, (choose, announce) => new Lookups(session, state, choose, announce));
  }
  const session = xorSession(description, state);
  return new Workbench(session, state, (choose, announce) => new Xor(session, state, choose, announce));
}

function header({ app, model, framework, name, metrics }) {
  const accuracy = `test accuracy ${percentText(metrics.test_accuracy)} on ${metrics.dataset}`;
  document.title = `${model} forward and backward`;
  return make(
    "header",
    {},
    make("h1", {}, `${model}, forward and backward`),
    make(
      "p",
      { class: "quiet" },
      `Run ${name} of ${app} in ${framework}; ${accuracy}. All arithmetic runs in this page, in float64.`,
    ),
  );
}

start();
