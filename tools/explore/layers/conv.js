// Convolution and pooling of images (N, C, H, W): shared/backprop/conv.py. Sizes are pairs [rows, columns].

import { Module } from "./module.js";
import { checkShape, product, productTransposed, sizeOf, tensor, transposedProduct } from "./tensor.js";

// A window of kh x kw positions that slides over padded images. The pixels under it form a matrix of a row for
// each channel and position, and a column for each of the Ho Wo places of the window: X (C kh kw, Ho Wo).
class Window extends Module {
  constructor({ kernel_size, stride = [1, 1], padding = [0, 0] }) {
    super();
    this.kernel_size = kernel_size;
    this.stride = stride;
    this.padding = padding;
  }

  // Prepares for images of this shape; returns how many rows and columns of places the window has in them.
  slideOver(shape) {
    if (String(shape.slice(1)) !== String(this.shape?.slice(1))) this.pixels = this.pixelsOf(shape);
    this.shape = shape;
    return this.placesIn(shape);
  }

  placesIn([, , height, width]) {
    return [height, width].map((size, axis) => {
      const moves = Math.floor((size + 2 * this.padding[axis] - this.kernel_size[axis]) / this.stride[axis]);
      if (moves < 0) throw new Error(`expected images of at least (${this.kernel_size}) pixels`);
      return moves + 1;
    });
  }

  // Returns the pixel of an image that each number of X is; -1 for padding.
  pixelsOf(shape) {
    const [, channels, height, width] = shape;
    const [rows, columns] = this.placesIn(shape);
    const [[kh, kw], [sh, sw], [ph, pw]] = [this.kernel_size, this.stride, this.padding];
    const pixels = new Int32Array(channels * kh * kw * rows * columns);
    let next = 0;
    for (let channel = 0; channel < channels; channel++) {
      for (let position = 0; position < kh * kw; position++) {
        for (let place = 0; place < rows * columns; place++) {
          const row = sh * Math.floor(place / columns) + Math.floor(position / kw) - ph;
          const column = sw * (place % columns) + (position % kw) - pw;
          const inside = row >= 0 && row < height && column >= 0 && column < width;
          pixels[next++] = inside ? (channel * height + row) * width + column : -1;
        }
      }
    }
    return pixels;
  }

  // Returns X of image n (im2col); `outside` is the value of the padding.
  gather(x, n, outside = 0) {
    const image = x.data.subarray(n * sizeOf(x.shape.slice(1)), (n + 1) * sizeOf(x.shape.slice(1)));
    const matrix = new Float64Array(this.pixels.length);
    for (let i = 0; i < matrix.length; i++) matrix[i] = this.pixels[i] < 0 ? outside : image[this.pixels[i]];
    return matrix;
  }

  // Adds the gradient of X to the gradient of image n: that of a pixel is the sum over its windows.
  scatter(dmatrix, dx, n) {
    const start = n * sizeOf(dx.shape.slice(1));
    for (let i = 0; i < dmatrix.length; i++) {
      if (this.pixels[i] >= 0) dx.data[start + this.pixels[i]] += dmatrix[i];
    }
  }
}

// A cross-correlation: Y = W X + b. Shapes: x (N, in, H, W), y (N, out, Ho, Wo), W (out, in, kh, kw), b (out,).
// Backward: dW = sum_n dY X^T, db = sum dY, dX = W^T dY.
export class Conv2d extends Window {
  constructor({ in_channels, out_channels, bias = true, ...sizes }) {
    super(sizes);
    this.in_channels = in_channels;
    this.out_channels = out_channels;
    this.params.weight = tensor([out_channels, in_channels, ...this.kernel_size]);
    if (bias) this.params.bias = tensor([out_channels]);
  }

  forward(x) {
    const { weight, bias } = this.params;
    const [count, channels] = x.shape;
    if (channels !== this.in_channels) throw new Error(`expected ${this.in_channels} channels, got ${channels}`);
    const places = this.slideOver(x.shape);
    const size = sizeOf(places);
    const y = tensor([count, this.out_channels, ...places]);
    this.matrices = [];
    for (let n = 0; n < count; n++) {
      this.matrices[n] = this.gather(x, n);
      const image = product(weight.data, this.matrices[n], this.out_channels, this.rows(), size);
      y.data.set(image, n * image.length);
    }
    if (bias) y.data.forEach((_, i) => (y.data[i] += bias.data[Math.floor(i / size) % this.out_channels]));
    return y;
  }

  backward(dy) {
    const { weight, bias } = this.params;
    const places = this.placesIn(this.shape);
    const [count, channels, size] = [this.shape[0], this.out_channels, sizeOf(places)];
    checkShape("a gradient", dy, [count, channels, ...places]);
    const dx = tensor(this.shape);
    const dweight = (this.grads.weight = tensor(weight.shape));
    for (let n = 0; n < count; n++) {
      const image = dy.data.subarray(n * channels * size, (n + 1) * channels * size);
      const part = productTransposed(image, this.matrices[n], channels, size, this.rows());
      part.forEach((value, i) => (dweight.data[i] += value));
      this.scatter(transposedProduct(weight.data, image, this.rows(), channels, size), dx, n);
    }
    if (bias) {
      const dbias = (this.grads.bias = tensor(bias.shape));
      dy.data.forEach((value, i) => (dbias.data[Math.floor(i / size) % channels] += value));
    }
    return dx;
  }

  // Returns the number of rows of X.
  rows() {
    return this.in_channels * sizeOf(this.kernel_size);
  }
}

// Pooling reduces the numbers of each channel in a window, a column of X, to one.
class Pool2d extends Window {
  constructor({ stride, ...sizes }) {
    super({ stride: stride ?? sizes.kernel_size, ...sizes });
  }

  // Calls f(n, index in y, indices in X of image n) for each number of y.
  forEachWindow([count, channels], size, f) {
    const positions = sizeOf(this.kernel_size);
    const window = new Int32Array(positions);
    for (let n = 0; n < count; n++) {
      for (let channel = 0; channel < channels; channel++) {
        for (let place = 0; place < size; place++) {
          for (let k = 0; k < positions; k++) window[k] = (channel * positions + k) * size + place;
          f(n, (n * channels + channel) * size + place, window);
        }
      }
    }
  }
}

// y = the maximum in each window; padding counts as minus infinity. Backward: dx is the sum of dy over the
// windows whose maximum the pixel is; among equal pixels the first one, row by row, is the maximum.
export class MaxPool2d extends Pool2d {
  forward(x) {
    const places = this.slideOver(x.shape);
    const y = tensor([...x.shape.slice(0, 2), ...places]);
    this.winners = new Int32Array(y.data.length); // indices in X
    const matrices = Array.from({ length: x.shape[0] }, (_, n) => this.gather(x, n, -Infinity));
    this.forEachWindow(x.shape, sizeOf(places), (n, at, window) => {
      let winner = window[0];
      for (const other of window) if (matrices[n][other] > matrices[n][winner]) winner = other;
      y.data[at] = matrices[n][winner];
      this.winners[at] = winner;
    });
    return y;
  }

  backward(dy) {
    const dx = tensor(this.shape);
    const size = dy.data.length / this.shape[0];
    for (let n = 0; n < this.shape[0]; n++) {
      const dmatrix = new Float64Array(this.pixels.length);
      for (let i = n * size; i < (n + 1) * size; i++) dmatrix[this.winners[i]] = dy.data[i];
      this.scatter(dmatrix, dx, n);
    }
    return dx;
  }
}

// y = the mean of the m numbers in each window; padding counts as zeros. Backward: dx is the sum of dy / m over
// the windows that contain the pixel.
export class AvgPool2d extends Pool2d {
  forward(x) {
    const places = this.slideOver(x.shape);
    const y = tensor([...x.shape.slice(0, 2), ...places]);
    const matrices = Array.from({ length: x.shape[0] }, (_, n) => this.gather(x, n));
    this.forEachWindow(x.shape, sizeOf(places), (n, at, window) => {
      for (const index of window) y.data[at] += matrices[n][index] / window.length;
    });
    return y;
  }

  backward(dy) {
    const dx = tensor(this.shape);
    const matrices = Array.from({ length: this.shape[0] }, () => new Float64Array(this.pixels.length));
    this.forEachWindow(this.shape, sizeOf(dy.shape.slice(2)), (n, at, window) => {
      for (const index of window) matrices[n][index] = dy.data[at] / window.length;
    });
    matrices.forEach((dmatrix, n) => this.scatter(dmatrix, dx, n));
    return dx;
  }
}
