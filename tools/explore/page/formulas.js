// The formulas of layers and losses, as in the docstrings of shared/backprop.

const FORMULAS = {
  Linear: ["y = x W\u1d40 + b", "dx = dy W", "dW = dy\u1d40 x", "db = sum dy"],
  Conv2d: [
    "Y = W X + b, where a column of X is a window of the image",
    "dX = W\u1d40 dY; the dx of a pixel is the sum of its dX over all windows that contain it",
    "dW = dY X\u1d40",
    "db = sum dY",
  ],
  MaxPool2d: [
    "y = the maximum of x in each window",
    "dx = the sum of dy over the windows whose maximum the pixel is",
  ],
  AvgPool2d: [
    "y = the mean of x in each window",
    "dx = the sum of dy / n over the windows that contain the pixel",
  ],
  BatchNorm2d: [
    "y = \u03b3 x\u0302 + \u03b2, x\u0302 = (x \u2212 m) / \u221a(v + \u03b5), with the running mean m and variance v",
    "dx = \u03b3 / \u221a(v + \u03b5) \u00b7 dy",
    "d\u03b3 = sum dy x\u0302",
    "d\u03b2 = sum dy",
  ],
  ReLU: ["y = max(x, 0)", "dx = dy where x > 0, else 0"],
  Sigmoid: ["y = 1 / (1 + exp(\u2212x))", "dx = dy \u00b7 y (1 \u2212 y)"],
  Tanh: ["y = tanh(x)", "dx = dy \u00b7 (1 \u2212 y\u00b2)"],
  Flatten: ["y = x with all axes but the first merged", "dx = dy, reshaped like x"],
  Dropout: ["y = x, as a finished network drops nothing", "dx = dy"],
};

const LOSSES = {
  cross_entropy: [
    "L = \u2212 sum q log p / N, with p = softmax(x) and q = 1 at the target, else 0",
    "dx = (p \u2212 q) / N",
  ],
  binary_cross_entropy: [
    "L = \u2212 sum (y log s(x) + (1 \u2212 y) log(1 \u2212 s(x))) / N",
    "dx = (s(x) \u2212 y) / N",
  ],
  squared_error: [
    "L = sum (s(x) \u2212 y)\u00b2 / N",
    "dx = 2 (s(x) \u2212 y) / N \u00b7 s(x) (1 \u2212 s(x))",
  ],
};

// Returns { forward, backward: [...] } of a layer.
export function formulasOf({ constructor, params }) {
  const [forward, ...backward] = FORMULAS[constructor.name];
  if (params.bias) return { forward, backward };
  return {
    forward: forward.replace(" + b", ""),
    backward: backward.filter((text) => !text.startsWith("db")),
  };
}

// Returns the same of a loss.
export function lossFormulas(name) {
  const [forward, ...backward] = LOSSES[name];
  return { forward, backward };
}
