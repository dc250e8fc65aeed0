// Starts the page: reads the run's description, and shows its network.

import { Digits } from "./digits.js";
import { make, radioGroup, selectField } from "./elements.js";
import { percentText } from "./numbers.js";
import { Session } from "./session.js";
import { State } from "./state.js";
import { Workbench } from "./workbench.js";

const DEFAULTS = {
  ...{ mode: "forward", step: -1, example: 0, drawing: "", target: -1, select: "" },
  ...{ optimizer: "sgd", lr: 0.1, on: "this", log: "", theme: "auto" },
};

function start() {
  const description = JSON.parse(document.getElementById("description").textContent);
  const state = new State(DEFAULTS);
  const root = document.getElementById("main");
  const workbench = new Workbench(new Session(description), state, new Digits(description, state));
  const mode = radioGroup("Show", "mode", [["forward", "Forward"], ["backward", "Backward"]], (value) => state.set({ mode: value }));
  const theme = selectField("Colors", [["auto", "as the system"], ["light", "light"], ["dark", "dark"]], (value) => state.set({ theme: value }));
  const applyChoices = () => {
    mode.choose(state.get("mode"));
    theme.select.value = state.get("theme");
    if (state.get("theme") === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = state.get("theme");
  };
  applyChoices();
  root.append(header(description), make("div", { class: "controls", id: "mode-bar" }, mode, theme), workbench.element, workbench.dock);
  state.onChange(() => {
    applyChoices();
    workbench.schedule();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => workbench.schedule());
  workbench.render();
  document.documentElement.dataset.ready = performance.now().toFixed(0); // for the test of its speed
}

function header({ app, model, framework, name, metrics }) {
  const accuracy = metrics.test_accuracy === undefined ? "" : `; test accuracy ${percentText(metrics.test_accuracy)} on ${metrics.dataset}`;
  document.title = `${model} forward and backward`;
  return make("header", {}, make("h1", {}, `${model}, forward and backward`),
    make("p", { class: "quiet" }, `Run ${name} of ${app} in ${framework}${accuracy}. All arithmetic runs in this page, in float64.`));
}

start();
