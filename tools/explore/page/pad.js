// The field to draw a digit in, and the ways to bring in a picture.

import { button, make } from "./elements.js";
import { FIELD, mnistForm, toGray } from "../layers/digit.js";

const SIDE = 168; // pixels of the canvas
const PEN = 13;
const LARGEST = 1000; // pixels a side of a picture that is not scaled down first

export class Pad {
  // onDigit(pixels, text) gets each new digit in MNIST's form; onEmpty() is called after clearing.
  constructor(onDigit, onEmpty, onProblem) {
    Object.assign(this, { onDigit, onEmpty, onProblem });
    this.canvas = make("canvas", {
      id: "pad",
      width: SIDE,
      height: SIDE,
      role: "img",
      "aria-label":
        "Field to draw a digit in with mouse, finger or pen. With the keyboard, choose a test image or a picture.",
      onpointerdown: (event) => this.start(event),
      onpointermove: (event) => this.move(event),
      onpointerup: () => (this.last = null),
      onpointercancel: () => (this.last = null),
      ondragover: (event) => event.preventDefault(),
      ondrop: (event) => this.drop(event),
    });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.file = make("input", {
      type: "file",
      accept: "image/*",
      onchange: () => this.readFile(this.file.files[0]),
    });
    this.erase();
    const file = make("label", { class: "field" }, "Picture ", this.file);
    this.element = make(
      "div",
      { class: "pad" },
      this.canvas,
      make(
        "p",
        {},
        button("Clear", () => this.clear()),
      ),
      file,
    );
  }

  erase() {
    this.context.fillStyle = "white";
    this.context.fillRect(0, 0, SIDE, SIDE);
    this.empty = true;
  }

  clear() {
    this.erase();
    this.onEmpty();
  }

  pointOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * SIDE) / box.width, ((event.clientY - box.top) * SIDE) / box.height];
  }

  start(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    if (this.pictured) this.erase();
    this.pictured = false;
    this.last = this.pointOf(event);
    this.lineTo(this.last);
    this.read();
  }

  move(event) {
    if (!this.last) return;
    const points = event.getCoalescedEvents?.() ?? [];
    for (const point of points.length ? points : [event]) this.lineTo(this.pointOf(point));
    this.read();
  }

  lineTo(point) {
    const { context } = this;
    Object.assign(context, { lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: "black" });
    context.beginPath();
    context.moveTo(...this.last);
    context.lineTo(...point);
    context.stroke();
    this.last = point;
  }

  // Reads the field as a picture of a digit.
  read() {
    const digit = mnistForm(grayOf(this.context, SIDE, SIDE), SIDE, SIDE);
    if (digit) this.onDigit(digit.pixels, "your drawing");
  }

  // Shows pixels in MNIST's form, so that drawing starts anew.
  show(pixels) {
    const image = new ImageData(FIELD, FIELD);
    pixels.forEach((value, i) => image.data.set([255 - value, 255 - value, 255 - value, 255], 4 * i));
    const small = make("canvas", { width: FIELD, height: FIELD });
    small.getContext("2d").putImageData(image, 0, 0);
    this.context.imageSmoothingEnabled = false;
    this.context.drawImage(small, 0, 0, SIDE, SIDE);
    this.pictured = true;
  }

  drop(event) {
    event.preventDefault();
    this.readFile(event.dataTransfer.files[0]);
  }

  async readFile(file) {
    if (!file) return;
    let picture;
    try {
      picture = await createImageBitmap(file);
    } catch {
      this.onProblem(`${file.name} is not a picture that this browser can read`);
      return;
    }
    const scale = Math.min(1, LARGEST / Math.max(picture.width, picture.height));
    const [width, height] = [picture.width, picture.height].map((side) =>
      Math.max(1, Math.round(side * scale)),
    );
    const context = make("canvas", { width, height }).getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(picture, 0, 0, width, height);
    const digit = mnistForm(grayOf(context, width, height), width, height);
    if (!digit) {
      this.onProblem(`${file.name}: paper and ink hardly differ`);
      return;
    }
    this.show(digit.pixels);
    this.onDigit(digit.pixels, file.name);
  }
}

// Returns the gray values of a canvas.
function grayOf(context, width, height) {
  return toGray(context.getImageData(0, 0, width, height).data);
}
