// Brings a picture of one digit to the form of MNIST's digits, with the same bits as shared/data/handwriting.py.

import { tensor } from "./tensor.js";

export const FIELD = 28; // pixels a side
const BOX = 20; // the longer side of the digit
const MIDDLE = 14; // the pixel of the center of mass
const GRAIN = 0.15; // of full ink: less counts as paper
const CONTRAST = 32; // of 255: with less between paper and ink the picture is empty

// Takes gray values (0 to 255) in rows. Returns { pixels, dark }: 28 x 28 bytes, 0 is paper and 255 full ink, and
// whether the ink was darker than the paper. Returns null if there is nothing on the picture.
export function mnistForm(gray, width, height) {
  const paper = medianOfEdge(gray, width, height);
  const darker = paper - gray.reduce((a, b) => Math.min(a, b));
  const lighter = gray.reduce((a, b) => Math.max(a, b)) - paper;
  const [dark, contrast] = [darker >= lighter, Math.max(darker, lighter)];
  if (contrast < CONTRAST) return null;
  const ink = Float64Array.from(gray).map((value) => {
    const share = (dark ? paper - value : value - paper) / contrast;
    return share < GRAIN ? 0 : share;
  });
  const digit = scaleToBox(cropToInk(ink, width, height));
  return { pixels: Uint8Array.from(centerInField(digit), (value) => roundToEven(255 * value)), dark };
}

// Returns the gray values of pixels (red, green, blue, opacity), as Pillow computes them; opacity is ignored.
export function toGray(rgba) {
  const gray = (i) => (19595 * rgba[4 * i] + 38470 * rgba[4 * i + 1] + 7471 * rgba[4 * i + 2] + 0x8000) >> 16;
  return Float64Array.from({ length: rgba.length / 4 }, (_, i) => gray(i));
}

// Returns bytes as the network of a run takes them, a batch of one; `input` is that of the description. A run
// computes with float32 inputs.
export function inputOf(pixels, { shape, mean, std }) {
  return tensor([1, ...shape], Float64Array.from(pixels, (value) => Math.fround((value / 255 - mean) / std)));
}

function medianOfEdge(gray, width, height) {
  const edge = []; // each corner twice
  for (let column = 0; column < width; column++) edge.push(gray[column], gray[(height - 1) * width + column]);
  for (let row = 0; row < height; row++) edge.push(gray[row * width], gray[(row + 1) * width - 1]);
  edge.sort((a, b) => a - b);
  return (edge[edge.length / 2 - 1] + edge[edge.length / 2]) / 2;
}

// An image is { data, width, height }. Returns the part with ink.
function cropToInk(ink, width, height) {
  let [top, bottom, left, right] = [height, 0, width, 0];
  for (let i = 0; i < ink.length; i++) {
    if (ink[i] === 0) continue;
    const [row, column] = [Math.floor(i / width), i % width];
    [top, bottom] = [Math.min(top, row), Math.max(bottom, row)];
    [left, right] = [Math.min(left, column), Math.max(right, column)];
  }
  const image = { width: right - left + 1, height: bottom - top + 1 };
  const pixel = (i) => ink[(top + Math.floor(i / image.width)) * width + left + (i % image.width)];
  return { ...image, data: Float64Array.from({ length: image.width * image.height }, (_, i) => pixel(i)) };
}

// Returns the image with its longer side 20 pixels, each the mean of its area, and its largest number 1.
function scaleToBox({ data, width, height }) {
  const [newWidth, newHeight] = [width, height].map((side) =>
    Math.max(1, roundToEven((side * BOX) / Math.max(width, height))),
  );
  const ink = data.map(Math.fround);
  let small; // Pillow 13 begins with the height if it shrinks far more than the width; the rounding shows it
  if (height - newHeight > 2 * (width - newWidth)) {
    const low = transposed(meansOfRows(transposed(ink, width), height, newHeight), newHeight);
    small = meansOfRows(low, width, newWidth);
  } else {
    const narrow = meansOfRows(ink, width, newWidth);
    small = transposed(meansOfRows(transposed(narrow, newWidth), height, newHeight), newHeight);
  }
  const largest = small.reduce((a, b) => Math.max(a, b));
  return { data: small.map((value) => value / largest), width: newWidth, height: newHeight };
}

// Scales each row of `width` numbers to one of `size` numbers, in float32: Pillow's Resampling.BOX, in which a
// number counts where its middle lies in the area.
function meansOfRows(data, width, size) {
  if (width === size) return data;
  const [rows, scale] = [data.length / width, width / size];
  const means = new Float64Array(rows * size);
  for (let place = 0; place < size; place++) {
    const middle = (place + 0.5) * scale;
    const reach = 0.5 * Math.max(scale, 1);
    const counts = (column) => {
      const distance = (column - middle + 0.5) * (1 / Math.max(scale, 1));
      return distance > -0.5 && distance <= 0.5;
    };
    const first = Math.max(0, Math.trunc(middle - reach + 0.5));
    const last = Math.min(width, Math.trunc(middle + reach + 0.5));
    const columns = Array.from({ length: last - first }, (_, k) => first + k).filter(counts);
    for (let row = 0; row < rows; row++) {
      const sum = columns.reduce((total, column) => total + data[row * width + column] * (1 / columns.length), 0);
      means[row * size + place] = Math.fround(sum);
    }
  }
  return means;
}

// Returns a matrix of rows of this width with rows and columns exchanged.
function transposed(data, width) {
  const height = data.length / width;
  return data.map((_, i) => data[(i % height) * width + Math.floor(i / height)]);
}

// Places the digit in a field of 28 x 28 pixels, its center of mass near the middle.
function centerInField({ data, width, height }) {
  const mass = data.reduce((sum, value) => sum + value);
  const startOf = (size, placeOf) => {
    const moment = data.reduce((sum, value, i) => sum + value * placeOf(i), 0);
    return Math.min(Math.max(0, roundToEven(MIDDLE - moment / mass)), FIELD - size);
  };
  const top = startOf(height, (i) => Math.floor(i / width));
  const left = startOf(width, (i) => i % width);
  const field = new Float64Array(FIELD * FIELD);
  data.forEach((value, i) => (field[(top + Math.floor(i / width)) * FIELD + left + (i % width)] = value));
  return field;
}

// Rounds a half to the even number, as Python and NumPy do.
function roundToEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
}
