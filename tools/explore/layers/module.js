// The base class of all layers, and Sequential: shared/backprop/module.py.

// forward(x) returns y and keeps what the backward pass needs. backward(dy) takes the gradient of the loss
// with respect to y, returns the gradient with respect to x, and stores those of the parameters in `grads`.
export class Module {
  constructor() {
    this.params = {};
    this.grads = {};
    this.buffers = {};
  }
}

// y = f_n(... f_2(f_1(x))); the backward pass runs in the opposite order. After `forward`, activations[i] is
// the input of layer i, and the last one is y; after `backward`, gradients[i] is the gradient of
// activations[i], or null before an embedding, whose input is whole numbers.
export class Sequential extends Module {
  // Takes layers by name, in their order.
  constructor(layers) {
    super();
    this.names = Object.keys(layers);
    this.layers = Object.values(layers);
    this.params = this.collect("params");
    this.buffers = this.collect("buffers");
    this.activations = [];
    this.gradients = [];
  }

  forward(x) {
    this.activations = [x];
    this.gradients = [];
    for (const layer of this.layers) {
      x = layer.forward(x);
      this.activations.push(x);
    }
    return x;
  }

  // dx = J_1^T ... J_n^T dy: the chain rule, from the right.
  backward(dy) {
    this.gradients = [dy];
    for (const layer of [...this.layers].reverse()) {
      dy = layer.backward(dy);
      this.gradients.unshift(dy);
    }
    this.grads = this.collect("grads");
    return dy;
  }

  // Returns the params, grads or buffers of all layers as { "fc1.weight": tensor }.
  collect(kind) {
    const all = {};
    this.layers.forEach((layer, index) => {
      for (const [key, value] of Object.entries(layer[kind])) all[`${this.names[index]}.${key}`] = value;
    });
    return all;
  }
}
