// The decision surface: the network's output for every point of the plane around the four rows of XOR.

import { tensor } from "../layers/tensor.js";
import { cssColor, isDark, sequentialColor } from "./colors.js";
import { make } from "./elements.js";
import { twinOf } from "./session.js";

const POINTS = 45; // of the grid along each axis
const FROM = -0.5;
const TO = 1.5;
const SIZE = 315; // pixels of the canvas

export class Surface {
  constructor(session, rows) {
    this.probe = twinOf(session.network);
    this.rows = rows;
    this.grid = gridOf(rows[0].input.length);
    this.canvas = make("canvas", { width: SIZE, height: SIZE, role: "img" });
    this.element = make(
      "figure",
      { id: "surface" },
      this.canvas,
      make(
        "figcaption",
        { class: "quiet" },
        "Output for every input from \u22120.5 to 1.5: the nearer to 1, the stronger the contrast to the page. ",
        "The line is at 0.5; the numbers are the targets.",
      ),
    );
  }

  render() {
    const { probe, grid, canvas, rows } = this;
    const logits = probe.forward(grid).data;
    const context = canvas.getContext("2d");
    const cell = SIZE / POINTS;
    const shares = Float64Array.from(logits, (logit) => 1 / (1 + Math.exp(-logit)));
    shares.forEach((share, i) => {
      const [x, y] = [i % POINTS, Math.floor(i / POINTS)];
      context.fillStyle = cssColor(sequentialColor(Number.isFinite(share) ? share : 0));
      context.fillRect(x * cell, (POINTS - 1 - y) * cell, cell + 0.5, cell + 0.5);
    });
    this.drawBoundary(context, shares, cell);
    for (const { input, label } of rows) drawPoint(context, input, label);
    const outputs = rows.map(({ input, label }) => `target ${label} at (${input.slice(0, 2).join(", ")})`);
    canvas.setAttribute(
      "aria-label",
      `Decision surface with ${outputs.join(", ")}; the outputs are in the table of predictions`,
    );
  }

  // Draws the edges of cells between which the output passes 0.5.
  drawBoundary(context, shares, cell) {
    context.strokeStyle = isDark() ? "#ff9640" : "#c85000";
    context.lineWidth = 3;
    context.beginPath();
    const above = shares.map((share) => Number(share >= 0.5));
    for (let y = 0; y < POINTS; y++) {
      for (let x = 0; x < POINTS; x++) {
        const [left, top] = [x * cell, (POINTS - 1 - y) * cell];
        if (x + 1 < POINTS && above[y * POINTS + x] !== above[y * POINTS + x + 1]) {
          context.moveTo(left + cell, top);
          context.lineTo(left + cell, top + cell);
        }
        if (y + 1 < POINTS && above[y * POINTS + x] !== above[(y + 1) * POINTS + x]) {
          context.moveTo(left, top);
          context.lineTo(left + cell, top);
        }
      }
    }
    context.stroke();
  }
}

// Returns the points of the grid as a batch; a third input is always 1.
function gridOf(inputs) {
  const grid = tensor([POINTS * POINTS, inputs]);
  for (let i = 0; i < POINTS * POINTS; i++) {
    const [x, y] = [i % POINTS, Math.floor(i / POINTS)].map(
      (at) => FROM + ((TO - FROM) * (at + 0.5)) / POINTS,
    );
    grid.data.set([x, y, 1].slice(0, inputs), i * inputs);
  }
  return grid;
}

function drawPoint(context, [x, y], label) {
  const place = (value) => ((value - FROM) / (TO - FROM)) * SIZE;
  context.beginPath();
  context.arc(place(x), SIZE - place(y), 13, 0, 2 * Math.PI);
  context.fillStyle = "white";
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = "black";
  context.stroke();
  context.fillStyle = "black";
  context.font = "bold 17px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(String(label), place(x), SIZE - place(y) + 1);
}
