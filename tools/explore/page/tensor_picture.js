// A picture of a tensor: one tile for each channel, one cell for each number. It has a cursor for the keyboard.

import { divergingColor, hatchColor, sequentialColor } from "./colors.js";
import { make } from "./elements.js";
import { indexText, numberText, signedText } from "./numbers.js";

const CELL = 4; // pixels of the canvas a side
const GAP = 1; // cells between tiles
const STRIPE = 16; // cells in a row of a vector

export class TensorPicture {
  // onPoint(index) is called when a cell is pointed at, onChoose(index) when it is clicked or Enter is pressed.
  constructor(label, { onPoint, onChoose, width = 22 }) {
    this.label = label;
    this.width = width; // in rem, at most
    this.onPoint = onPoint;
    this.onChoose = onChoose;
    this.cursor = 0;
    this.canvas = make("canvas", {
      tabindex: 0,
      role: "application",
      "aria-roledescription": "picture of numbers",
      onpointermove: (event) => this.point(this.indexAt(event)),
      onclick: (event) => this.choose(this.indexAt(event)),
      onkeydown: (event) => this.press(event),
      onfocus: () => this.point(this.cursor),
      onpointerleave: () => this.mark(this.chosen),
    });
    this.marker = make("div", { class: "marker", hidden: "" });
    this.range = make("p", { class: "range" });
    this.frame = make("div", { class: "frame" }, this.canvas, this.marker);
    this.element = make("div", { class: "picture" }, this.frame, this.range);
    this.chosen = null;
  }

  // Draws a tensor of shape (1, C, H, W), (1, H, W), (N, F) or (F). `diverging` maps show the sign.
  draw({ shape, data }, diverging, label = this.label) {
    this.shape = shape;
    this.data = data;
    this.diverging = diverging;
    this.layout = layoutOf(shape);
    const { columns, rows } = this.layout;
    const { canvas } = this;
    if (canvas.width !== columns * CELL || canvas.height !== rows * CELL) {
      [canvas.width, canvas.height] = [columns * CELL, rows * CELL];
      const cell = Math.min(columns < 8 ? 2.2 : 1.2, Math.max(0.16, this.width / columns));
      canvas.style.width = `${columns * cell}rem`;
      this.image = canvas.getContext("2d").createImageData(canvas.width, canvas.height);
    }
    this.cursor = Math.min(this.cursor, data.length - 1);
    const [lowest, highest] = rangeOf(data);
    this.paint(lowest, highest);
    this.range.textContent = diverging
      ? `from ${signedText(lowest)}${lowest < 0 ? " (striped)" : ""} to ${signedText(highest)}`
      : `from ${numberText(lowest)} to ${numberText(highest)}`;
    canvas.setAttribute(
      "aria-label",
      `${label}, ${data.length} numbers ${this.range.textContent}. Arrow keys move, Enter explains.`,
    );
    this.mark(this.chosen);
  }

  paint(lowest, highest) {
    const { data, image, layout, diverging } = this;
    const pixels = new Uint32Array(image.data.buffer);
    const largest = diverging ? Math.max(-lowest, highest) || 1 : highest - Math.min(lowest, 0) || 1;
    const palette = paletteOf(diverging);
    const middle = diverging ? 127 : 0;
    const zero = diverging ? 0 : Math.min(lowest, 0);
    for (let index = 0; index < data.length; index++) {
      const share = (data[index] - zero) / largest;
      const shade = Number.isFinite(share) ? middle + Math.round(share * (diverging ? 127 : 254)) : middle;
      const [x, y] = layout.cellOf(index);
      const color = palette.fill[shade];
      const line = palette.line[shade];
      for (let row = 0; row < CELL; row++) {
        const start = (y * CELL + row) * image.width + x * CELL;
        for (let column = 0; column < CELL; column++)
          pixels[start + column] = row + column === CELL - 1 ? line : color;
      }
    }
    this.canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // Returns the index of the number under the pointer, or null.
  indexAt(event) {
    if (!this.layout) return null;
    const box = this.canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * this.layout.columns);
    const y = Math.floor(((event.clientY - box.top) / box.height) * this.layout.rows);
    return this.layout.indexOf(x, y);
  }

  press(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Enter" || event.key === " ") this.choose(this.cursor);
    else if (event.key === "Escape") this.choose(null);
    else if (event.key in moves) {
      let [x, y] = this.layout.cellOf(this.cursor);
      const [dx, dy] = moves[event.key];
      for (let tries = 0; tries <= GAP; tries++) {
        // jump over a gap
        [x, y] = [x + dx, y + dy];
        const index = this.layout.indexOf(x, y);
        if (index === null) continue;
        this.point(index);
        break;
      }
    } else return;
    event.preventDefault();
  }

  point(index) {
    if (index === null || !this.layout) return;
    this.cursor = index;
    this.mark(index);
    const write = this.diverging ? signedText : numberText;
    this.onPoint?.(index, `${indexText(this.shape, index)}: ${write(this.data[index])}`);
  }

  choose(index) {
    if (this.layout) this.onChoose?.(index);
  }

  // Draws a frame around a cell; null removes it.
  mark(index) {
    this.marker.hidden = index === null || index === undefined || !this.layout;
    if (this.marker.hidden) return;
    const [x, y] = this.layout.cellOf(index);
    const { columns, rows } = this.layout;
    Object.assign(this.marker.style, {
      left: `${(100 * x) / columns}%`,
      top: `${(100 * y) / rows}%`,
      width: `${100 / columns}%`,
      height: `${100 / rows}%`,
    });
  }
}

// Returns where the numbers of a shape are drawn: size in cells, and index to cell and back.
function layoutOf(shape) {
  const size = shape.length > 1 && shape[0] === 1 ? shape.slice(1) : shape;
  let [tiles, height, width] = [1, 1, size.at(-1)];
  if (size.length === 3) [tiles, height, width] = size;
  else if (size.length === 2) [height, width] = size;
  else if (width > STRIPE) [height, width] = [Math.ceil(width / STRIPE), STRIPE];
  const across = Math.ceil(Math.sqrt(tiles));
  const [stepX, stepY] = [width + GAP, height + GAP];
  const total = size.reduce((product, side) => product * side, 1);
  return {
    columns: across * stepX - GAP,
    rows: Math.ceil(tiles / across) * stepY - GAP,
    cellOf(index) {
      const [tile, inside] = [Math.floor(index / (width * height)), index % (width * height)];
      return [
        (tile % across) * stepX + (inside % width),
        Math.floor(tile / across) * stepY + Math.floor(inside / width),
      ];
    },
    indexOf(x, y) {
      const [column, row] = [x % stepX, y % stepY];
      const [tileX, tileY] = [Math.floor(x / stepX), Math.floor(y / stepY)];
      if (x < 0 || y < 0 || column >= width || row >= height || tileX >= across) return null;
      const index = (tileY * across + tileX) * width * height + row * width + column;
      return index < total ? index : null;
    },
  };
}

function rangeOf(data) {
  let [lowest, highest] = [Infinity, -Infinity];
  for (let i = 0; i < data.length; i++) {
    if (data[i] < lowest) lowest = data[i];
    if (data[i] > highest) highest = data[i];
  }
  return lowest <= highest ? [lowest, highest] : [NaN, NaN];
}

const palettes = {};

// Returns 255 colors as pixels of a canvas, for the cell and for the line through it.
function paletteOf(diverging) {
  const kind = diverging ? "diverging" : "sequential";
  const theme = sequentialColor(0).join();
  const key = `${kind} ${theme}`;
  if (palettes[key]) return palettes[key];
  const palette = { fill: new Uint32Array(255), line: new Uint32Array(255) };
  for (let shade = 0; shade < 255; shade++) {
    const share = diverging ? (shade - 127) / 127 : shade / 254;
    const color = diverging ? divergingColor(share) : sequentialColor(share);
    palette.fill[shade] = pixelOf(color);
    palette.line[shade] = pixelOf(share < 0 ? hatchColor(color, share) : color);
  }
  palettes[key] = palette;
  return palette;
}

function pixelOf([red, green, blue]) {
  return (255 << 24) | (blue << 16) | (green << 8) | red;
}
