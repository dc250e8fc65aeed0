// Color maps. Both can be told apart with any color vision, and differ in lightness; the diverging one also
// draws a line through the cells of negative numbers.

const MAPS = {
  light: {
    low: [255, 255, 255],
    high: [8, 48, 107],
    negative: [0, 90, 160],
    zero: [255, 255, 255],
    positive: [200, 80, 0],
  },
  dark: {
    low: [16, 18, 21],
    high: [235, 240, 250],
    negative: [90, 180, 240],
    zero: [30, 33, 37],
    positive: [255, 150, 60],
  },
};

export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

const colorMap = () => MAPS[isDark() ? "dark" : "light"];
const mix = (from, to, share) => from.map((value, i) => Math.round(value + share * (to[i] - value)));

// Returns the color of a share from 0 to 1 as [red, green, blue].
export function sequentialColor(share) {
  const { low, high } = colorMap();
  return mix(low, high, clamp(share));
}

// Returns the color of a share from -1 to 1.
export function divergingColor(share) {
  const { negative, zero, positive } = colorMap();
  return mix(zero, share < 0 ? negative : positive, Math.sqrt(clamp(Math.abs(share))));
}

// Returns the color of the line through a negative cell of this color.
export function hatchColor(color, share) {
  return mix(color, isDark() ? [0, 0, 0] : [255, 255, 255], Math.min(0.75, 3 * Math.abs(share)));
}

export function cssColor(color) {
  return `rgb(${color.join(" ")})`;
}

function clamp(share) {
  return Math.min(1, Math.max(0, share));
}
