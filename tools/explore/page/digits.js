// The inputs of a network for digits: a drawing, a picture, or a test image.

import { FIELD, inputOf } from "../layers/digit.js";
import { make, panel } from "./elements.js";
import { indexOfLargest } from "./numbers.js";
import { Pad } from "./pad.js";
import { batchOf, decodeExamples } from "./session.js";

export class Digits {
  trainingSets = [
    ["this", "this digit"],
    ["all", "ten test images, one of each class"],
  ];

  constructor(description, state) {
    Object.assign(this, { description, state });
    this.examples = decodeExamples(description);
    this.problem = make("p", { class: "warn", role: "alert" });
    this.pad = new Pad(
      (pixels) => {
        this.problem.textContent = "";
        state.set({ drawing: encodePixels(pixels), example: -1 });
      },
      () => state.set({ drawing: "", example: 0, target: -1 }),
      (text) => (this.problem.textContent = text),
    );
    this.thumbnails = this.examples.map((example, number) =>
      thumbnail(example, number, () => {
        this.pad.show(example.pixels);
        state.set({ example: number, drawing: "", target: -1 });
      }),
    );
    const from = description.examples_from ?? description.metrics.dataset;
    this.element = panel(
      "Digit",
      { id: "digit-panel" },
      make("p", {}, "Draw a digit, or choose a test image or a picture (or drop one on the field)."),
      this.pad.element,
      this.problem,
      make(
        "div",
        { class: "thumbnails", role: "group", "aria-label": `Test images of ${from}` },
        ...this.thumbnails,
      ),
    );
    this.restored = false;
  }

  // Returns the chosen digit as a batch of one, with its target.
  read(session, state) {
    const drawing = decodePixels(state.get("drawing"));
    const number = Math.min(Math.max(0, state.get("example")), this.examples.length - 1);
    const pixels = drawing ?? this.examples[number].pixels;
    if (!this.restored) this.pad.show(pixels);
    this.restored = true;
    const key = `${state.get("drawing")} ${number} ${state.get("target")}`;
    if (this.key !== key) {
      this.key = key;
      const input = inputOf(pixels, this.description.input);
      const target = this.targetOf(session, input, drawing, number);
      this.current = { input, labels: [target], name: drawing ? "drawing" : `e${number}t${target}` };
    }
    this.thumbnails.forEach((button, at) => button.setAttribute("aria-pressed", !drawing && at === number));
    return this.current;
  }

  // The target is the chosen class, else the label, else the most probable class.
  targetOf(session, input, drawing, number) {
    const target = this.state.get("target");
    if (target in this.description.classes) return target;
    return drawing ? indexOfLargest(session.network.forward(input).data) : this.examples[number].label;
  }

  // Returns the batch that an address calls "all" or "e3t7".
  batchOf(name) {
    if (name === "all") {
      this.all ??= this.firstOfEachClass();
      return this.all;
    }
    const [, number, target] = /^e(\d+)t(\d)$/.exec(name) ?? [];
    if (!(number in this.examples)) return null;
    return {
      input: inputOf(this.examples[number].pixels, this.description.input),
      labels: [Number(target)],
      name,
    };
  }

  firstOfEachClass() {
    const chosen = this.description.classes.map((_, label) =>
      this.examples.find((example) => example.label === label),
    );
    const found = chosen.filter(Boolean);
    const input = batchOf(found.map(({ pixels }) => inputOf(pixels, this.description.input)));
    return { input, labels: found.map(({ label }) => label), name: "all" };
  }
}

function thumbnail({ pixels, label }, number, onclick) {
  const canvas = make("canvas", { width: FIELD, height: FIELD });
  const image = new ImageData(FIELD, FIELD);
  pixels.forEach((value, i) => image.data.set([255 - value, 255 - value, 255 - value, 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return make(
    "button",
    { type: "button", onclick, "aria-label": `test image ${number + 1}, a ${label}`, title: `a ${label}` },
    canvas,
  );
}

function encodePixels(pixels) {
  return btoa(String.fromCharCode(...pixels));
}

// Returns the pixels of such a text, or null.
function decodePixels(text) {
  try {
    const pixels = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    return pixels.length === FIELD * FIELD ? pixels : null;
  } catch {
    return null;
  }
}
