// Batch normalization in evaluation, with running statistics: shared/backprop/norm.py.

import { Module } from "./module.js";
import { map, sizeOf, tensor } from "./tensor.js";

// y = gamma * xhat + beta, xhat = (x - running_mean) / sqrt(running_var + eps), channel by channel of x
// (N, C, H, W). Backward: dgamma = sum dy xhat, dbeta = sum dy, dx = gamma / sqrt(running_var + eps) * dy.
export class BatchNorm2d extends Module {
  constructor({ num_features, eps = 1e-5 }) {
    super();
    this.eps = eps;
    const ones = () => tensor([num_features], new Float64Array(num_features).fill(1));
    this.params = { weight: ones(), bias: tensor([num_features]) };
    this.buffers = { running_mean: tensor([num_features]), running_var: ones() };
  }

  forward(x) {
    const { running_mean: mean, running_var: variance } = this.buffers;
    const { weight, bias } = this.params;
    const size = sizeOf(x.shape.slice(2));
    this.channel = (i) => Math.floor(i / size) % x.shape[1];
    this.scale = variance.data.map((value) => 1 / Math.sqrt(value + this.eps));
    this.xhat = map(x, (value, i) => (value - mean.data[this.channel(i)]) * this.scale[this.channel(i)]);
    return map(this.xhat, (value, i) => value * weight.data[this.channel(i)] + bias.data[this.channel(i)]);
  }

  backward(dy) {
    const { params, channel, scale, xhat } = this;
    this.grads = { weight: tensor(params.weight.shape), bias: tensor(params.bias.shape) };
    dy.data.forEach((value, i) => {
      this.grads.weight.data[channel(i)] += value * xhat.data[i];
      this.grads.bias.data[channel(i)] += value;
    });
    return map(dy, (value, i) => value * scale[channel(i)] * params.weight.data[channel(i)]);
  }
}
