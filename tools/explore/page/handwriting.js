// Brings a picture of one digit to the form of MNIST's digits, step by step as shared/data/handwriting.py.

export const FIELD = 28; // pixels a side
const BOX = 20;
const MIDDLE = 14;
const GRAIN = 0.15;
const CONTRAST = 32;

// Takes gray values of 0 to 255 in rows. Returns { pixels, dark }, where `pixels` are 28 x 28 whole numbers,
// 0 for paper and 255 for full ink; null if the picture is empty.
export function mnistForm(gray, width, height) {
  const paper = medianOfEdge(gray, width, height);
  let [lowest, highest] = [Infinity, -Infinity];
  for (const value of gray) {
    if (value < lowest) lowest = value;
    if (value > highest) highest = value;
  }
  const dark = paper - lowest >= highest - paper;
  const contrast = Math.max(paper - lowest, highest - paper);
  if (contrast < CONTRAST) return null;
  const ink = gray.map((value) => {
    const share = (dark ? paper - value : value - paper) / contrast;
    return share < GRAIN ? 0 : share;
  });
  const digit = scaleToBox(crop(ink, width, height));
  const field = centerInField(digit);
  return { pixels: Uint8Array.from(field, (value) => roundToEven(255 * value)), dark };
}

function medianOfEdge(gray, width, height) {
  const edge = [];
  for (let x = 0; x < width; x++) edge.push(gray[x], gray[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) edge.push(gray[y * width], gray[y * width + width - 1]);
  edge.sort((a, b) => a - b);
  const middle = edge.length / 2;
  return (edge[Math.ceil(middle) - 1] + edge[Math.floor(middle)]) / 2;
}

// Returns the part with ink.
function crop(ink, width, height) {
  let [top, bottom, left, right] = [height, 0, width, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!ink[y * width + x]) continue;
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
      [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
    }
  }
  const image = { data: [], width: right - left, height: bottom - top };
  for (let y = top; y < bottom; y++) image.data.push(...ink.slice(y * width + left, y * width + right));
  return image;
}

// Returns the image with its longer side 20 pixels, and its largest number 1.
function scaleToBox({ data, width, height }) {
  const longer = Math.max(width, height);
  const [newWidth, newHeight] = [width, height].map((side) => Math.max(1, roundToEven((side * BOX) / longer)));
  const wide = boxFilter(data.map(Math.fround), height, width, newWidth);
  const small = transpose(boxFilter(transpose(wide, height, newWidth), newWidth, height, newHeight), newWidth, newHeight);
  const largest = small.reduce((a, b) => Math.max(a, b));
  return { data: small.map((value) => value / largest), width: newWidth, height: newHeight };
}

// Returns rows of `size` numbers, each the mean of those of `columns` numbers that it covers, as Pillow's
// Resampling.BOX, which counts a number whole or not at all.
function boxFilter(data, rows, columns, size) {
  if (columns === size) return data;
  const scale = columns / size;
  const support = 0.5 * Math.max(scale, 1);
  const result = [];
  for (let row = 0; row < rows; row++) {
    for (let place = 0; place < size; place++) {
      const center = (place + 0.5) * scale;
      const first = Math.max(0, Math.trunc(center - support + 0.5));
      const last = Math.min(columns, Math.trunc(center + support + 0.5));
      let [sum, count] = [0, 0];
      for (let column = first; column < last; column++) {
        const distance = (column - center + 0.5) / Math.max(scale, 1);
        if (distance <= -0.5 || distance > 0.5) continue;
        sum += data[row * columns + column];
        count += 1;
      }
      result.push(Math.fround(sum / count));
    }
  }
  return result;
}

function transpose(data, rows, columns) {
  return Array.from({ length: rows * columns }, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]);
}

// Places the digit in a field, its center of mass near the middle.
function centerInField({ data, width, height }) {
  const mass = data.reduce((sum, value) => sum + value, 0);
  const place = (axis, size) => {
    const moment = data.reduce((sum, value, i) => sum + value * (axis ? i % width : Math.floor(i / width)), 0);
    return Math.min(Math.max(0, roundToEven(MIDDLE - moment / mass)), FIELD - size);
  };
  const [top, left] = [place(0, height), place(1, width)];
  const field = new Float64Array(FIELD * FIELD);
  data.forEach((value, i) => (field[(top + Math.floor(i / width)) * FIELD + left + (i % width)] = value));
  return field;
}

// Rounds halves to the even number, as Python does.
function roundToEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2) ? below + 1 : below;
}
