// Optimizers with torch's formulas: shared/backprop/optimizers.py. step(grads) updates the parameters in place.
// g is the gradient, w the weight, t the number of the step from 1.

class Optimizer {
  // Takes the parameters as { "fc1.weight": tensor }; `lr` may be changed at any time.
  constructor(params, lr) {
    this.params = params;
    this.lr = lr;
    this.t = 0;
    this.state = {};
    for (const name of Object.keys(params)) this.state[name] = {};
  }

  // A name that is in both has the same shape in both.
  step(grads) {
    this.t += 1;
    for (const [name, w] of Object.entries(this.params)) {
      const g = grads[name];
      if (!g) throw new Error(`the gradient of ${name} is missing`);
      this.update(w.data, g.data, this.state[name]);
    }
  }

  // Returns the numbers that the optimizer keeps for each weight under this name, at first zeros.
  kept(state, name, size) {
    state[name] ??= new Float64Array(size);
    return state[name];
  }
}

// Gradient descent with momentum mu: v = mu v + g, from 0; w -= lr v.
export class SGD extends Optimizer {
  constructor(params, { lr, momentum = 0 }) {
    super(params, lr);
    this.momentum = momentum;
  }

  update(w, g, state) {
    const v = this.kept(state, "v", w.length);
    for (let i = 0; i < w.length; i++) {
      v[i] = this.momentum * v[i] + g[i];
      w[i] -= this.lr * v[i];
    }
  }
}

// m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, from 0;
// w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps) (Kingma and Ba 2015, algorithm 1).
export class Adam extends Optimizer {
  constructor(params, { lr, betas = [0.9, 0.999], eps = 1e-8 }) {
    super(params, lr);
    this.betas = betas;
    this.eps = eps;
  }

  update(w, g, state) {
    const [b1, b2] = this.betas;
    const m = this.kept(state, "m", w.length);
    const v = this.kept(state, "v", w.length);
    const rate = this.lr / (1 - b1 ** this.t);
    const root = Math.sqrt(1 - b2 ** this.t);
    for (let i = 0; i < w.length; i++) {
      m[i] = b1 * m[i] + (1 - b1) * g[i];
      v[i] = b2 * v[i] + (1 - b2) * g[i] * g[i];
      w[i] -= (rate * m[i]) / (Math.sqrt(v[i]) / root + this.eps);
    }
  }
}
