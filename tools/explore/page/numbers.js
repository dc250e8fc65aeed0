// Numbers as text.

const MINUS = "\u2212";

// Returns a number with four significant digits and a true minus sign.
export function numberText(value, digits = 4) {
  if (!Number.isFinite(value))
    return Number.isNaN(value) ? "not a number" : value > 0 ? "infinity" : `${MINUS}infinity`;
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e5) return String(value).replace("-", MINUS);
  const text = size >= 1e5 || size < 1e-3 ? value.toExponential(digits - 1) : value.toPrecision(digits);
  return text.replaceAll("-", MINUS);
}

// The same, with its sign in any case.
export function signedText(value) {
  return value > 0 ? `+${numberText(value)}` : numberText(value);
}

// In parentheses if it is negative, as a factor.
export function factorText(value) {
  return value < 0 ? `(${numberText(value)})` : numberText(value);
}

export function percentText(probability) {
  return `${(100 * probability).toFixed(1)} %`;
}

// Returns the largest magnitude; 0 for no numbers.
export function largestMagnitude(data) {
  let largest = 0;
  for (let i = 0; i < data.length; i++) largest = Math.max(largest, Math.abs(data[i]));
  return largest;
}

export function meanMagnitude(data) {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += Math.abs(data[i]);
  return sum / data.length;
}

export function indexOfLargest(data) {
  let at = 0;
  for (let i = 1; i < data.length; i++) if (data[i] > data[at]) at = i;
  return at;
}

// Returns the index along each axis of the number at `at` in rows.
export function indicesOf(shape, at) {
  const indices = [];
  for (const size of [...shape].reverse()) {
    indices.unshift(at % size);
    at = Math.floor(at / size);
  }
  return indices;
}

// Returns "[3, 17]" for an activation, without the axis of the examples if there is one example only.
export function indexText(shape, at) {
  const indices = indicesOf(shape, at);
  return `[${(shape[0] === 1 && shape.length > 1 ? indices.slice(1) : indices).join(", ")}]`;
}
