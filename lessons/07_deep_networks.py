# %% [markdown]
# # 7. Activations and deep networks
#
# > On its way back through ten layers, a gradient is multiplied ten times. If every factor is a quarter, a millionth
# > arrives.
#
# This lesson is about these factors: the slopes of four activation functions, the weights between them, and how to
# choose both so that a deep network learns. You need [lesson 4](04_backward_by_hand.ipynb). Reading takes about
# twenty minutes.

# %% tags=["page"]
import numpy as np
from IPython.display import Image

from apps.gradient_flow import numpy_model
from apps.gradient_flow.data import pixels
from apps.gradient_flow.networks import Dense, norm
from apps.gradient_flow.weights import initial_weights
from shared import charts
from shared.backprop import GELU, SGD, Linear, ReLU, Sequential, Sigmoid, Tanh, clip_grad_norm_
from shared.data import digits
from shared.data.examples import Examples
from tools.check import check

numpy_model.prepare(threads=1)  # faster for matrices as small as these

# %% [markdown]
# ## Four activation functions
#
# Without a curve between them, two linear layers are only one. These are the usual curves:
#
# $$\sigma(z) = \frac{1}{1 + e^{-z}} \qquad \tanh(z) \qquad \mathrm{ReLU}(z) = \max(z, 0) \qquad
# \mathrm{GELU}(z) = z \, \Phi(z)$$
#
# Slides B8 and C4 show the first three. GELU is a smooth ReLU; $\Phi$ is the normal distribution function. For the
# backward pass, only the slope matters: it is the factor by which the gradient is multiplied.
#
# $$\mathit{dz} = \mathit{da} \cdot f'(z)$$

# %% tags=["fold"]
z = np.linspace(-5, 5, 201)
chart = charts.figure(size=(12, 5.2))
left, right = chart.subplots(1, 2)
for number, layer in enumerate((Sigmoid(), Tanh(), ReLU(), GELU())):
    charts.curve(left, number, z, layer.forward(z), type(layer).__name__)
    charts.curve(right, number, z, layer.backward(np.ones_like(z)), type(layer).__name__)
left.set_ylim(-1.2, 3)
charts.label_axes(left, "z", "f(z)", "value")
charts.label_axes(right, "z", "f′(z)", "slope: the factor of the gradient")
charts.legend_below(chart, left, 4)
Image(charts.png(chart), alt="Four activation functions and their slopes: the sigmoid's never exceeds 0.25")

# %% [markdown]
# In numbers, for the inputs -3, 0.5 and 3:

# %% tab="by hand"
points = np.array([-3.0, 0.5, 3.0])
by_hand = {}
for layer in (Sigmoid(), Tanh(), ReLU()):
    layer.forward(points)
    by_hand[type(layer).__name__] = layer.backward(np.ones(3))
for name, slopes in by_hand.items():
    print(f"{name:8}", slopes.round(4))
np.testing.assert_allclose(by_hand["Sigmoid"], [0.0452, 0.2350, 0.0452], atol=5e-5)

# %% tab="PyTorch"
import torch

for name, function in (("Sigmoid", torch.sigmoid), ("Tanh", torch.tanh), ("ReLU", torch.relu)):
    x = torch.tensor(points, requires_grad=True)
    function(x).sum().backward()
    print(f"{name:8}", x.grad.numpy().round(4))
    np.testing.assert_allclose(x.grad, by_hand[name], rtol=1e-12)

# %% tab="TensorFlow"
import shared.parity  # torch's compiler must be loaded before TensorFlow
import shared.training.keras_quiet  # without TensorFlow's notes on the screen
import tensorflow as tf

for name, function in (("Sigmoid", tf.sigmoid), ("Tanh", tf.tanh), ("ReLU", tf.nn.relu)):
    x = tf.constant(points)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    slopes = tape.gradient(y, x).numpy()
    print(f"{name:8}", slopes.round(4))
    np.testing.assert_allclose(slopes, by_hand[name], rtol=1e-12)

# %% [markdown]
# > A sigmoid passes on at most 0.25 of the gradient, tanh at most 1. A ReLU passes on all of it or nothing.
#
# Where the sigmoid and tanh are flat, they **saturate**: almost nothing passes. A ReLU does not saturate for
# positive inputs. But if a neuron's input is negative for every example, no gradient reaches its weights, and it may
# never recover: it is **dead**. GELU has a small slope there.

# %% [markdown]
# ## Ten factors
#
# Slide A11 compares ten sigmoids in sequence with ten ReLUs. It leaves out the weights, so the gradient is only a
# product of ten slopes:
#
# $$\frac{dL}{dz_1} = f'(z_1) \, f'(z_2) \cdots f'(z_{10}) \, \frac{dL}{da_{10}}$$
#
# At its best, a sigmoid's slope is 0.25, and $0.25^{10}$ is 9.54e-7: of a million parts, one arrives. Ten
# active ReLUs pass on everything.


# %%
def ten_slopes(layer, z):
    """Return the product of ten equal slopes for each input."""
    layer.forward(z)
    gradient = np.ones_like(z)
    for _ in range(10):
        gradient = layer.backward(gradient)
    return gradient


best = ten_slopes(Sigmoid(), np.zeros(1))[0]
print(f"ten sigmoids pass on at most {best:.2e}, ten ReLUs {ten_slopes(ReLU(), np.ones(1))[0]:g}")
np.testing.assert_allclose(best, 9.54e-7, rtol=1e-3)

# %% tags=["fold"]
z = np.linspace(-5, 5, 100)
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
for number, layer in enumerate((Sigmoid(), Tanh(), ReLU())):
    product = ten_slopes(layer, z)
    charts.curve(axes, number, z[product > 0], product[product > 0], f"ten times {type(layer).__name__}")
charts.label_axes(axes, "input of each of the ten functions", "factor of the gradient")
charts.log_scale(axes)
axes.legend(loc="upper left")
Image(
    charts.png(chart),
    alt="Products of ten slopes: ReLU 1 for positive inputs, tanh a peak, sigmoid below 1e-6",
)

# %% [markdown]
# ## The weights are factors, too
#
# In a network there is a matrix before each function, and the backward pass multiplies by it as well:
#
# $$\mathit{dz}_l = \mathit{da}_l \cdot f'(z_l) \qquad \mathit{da}_{l-1} = \mathit{dz}_l \, W_l$$
#
# Large weights can make up for small slopes, and small weights can ruin the best activation. So measure it. The
# next cells use real digits, 10 hidden layers of 64 neurons, and the networks of
# [apps/gradient_flow](../apps/gradient_flow/README.md). They print the norm of the gradient that leaves the last
# hidden layer, and of the one that arrives at the first.

# %% tab="by hand"
images = digits.load()
inputs = pixels(images.train_images[:100])
batch = Examples((inputs - inputs.mean()) / inputs.std(), images.train_labels[:100])


def ten_layers(activation, initialization, deviation=1.0):
    """Return a network and its initial weights."""
    network = Dense(inputs=196, width=64, depth=10, activation=activation)
    return network, initial_weights(network, initialization, deviation, np.random.default_rng(0))


sigmoids, glorot = ten_layers("sigmoid", "Glorot")
found = numpy_model.gradients(numpy_model.build_model(sigmoids), glorot, batch)
last, first = norm(found.flow[-1]), norm(found.flow[0])
print(f"loss {found.loss:.4f}; gradient at layer 10: {last:.2e}, at layer 1: {first:.2e}")
ratio = first / last
assert 1e-6 < ratio < 1e-5

# %% tab="PyTorch"
from apps.gradient_flow import torch_model

by_torch = torch_model.gradients(torch_model.build_model(sigmoids), glorot, batch)
last, first = norm(by_torch.flow[-1]), norm(by_torch.flow[0])
print(f"loss {by_torch.loss:.4f}; gradient at layer 10: {last:.2e}, at layer 1: {first:.2e}")
np.testing.assert_allclose(by_torch.flow, found.flow, rtol=1e-9, atol=1e-18)

# %% tab="Keras"
from apps.gradient_flow import keras_model

by_keras = keras_model.gradients(keras_model.build_model(sigmoids), glorot, batch)
last, first = norm(by_keras.flow[-1]), norm(by_keras.flow[0])
print(f"loss {by_keras.loss:.4f}; gradient at layer 10: {last:.2e}, at layer 1: {first:.2e}")
np.testing.assert_allclose(by_keras.flow, found.flow, rtol=1e-9, atol=1e-18)

# %% [markdown]
# Only about two millionths arrive at the first layer: the gradient **vanishes**. All three frameworks agree, so
# it is no mistake in a backward pass. The first layers hardly learn, and everything behind them works with almost
# random features.

# %% [markdown]
# ## Initialization
#
# How large should the weights be? Take one neuron with $n$ inputs. If its weights are independent, with mean 0 and
# variance $\mathrm{Var}(w)$, the variances of the $n$ terms add up:
#
# $$\mathrm{Var}(z) = n \, \mathrm{Var}(w) \, \overline{x^2}$$
#
# To keep the size from layer to layer, $n \, \mathrm{Var}(w)$ should be 1. For the way back, $n$ is the number of
# outputs instead, so Glorot and Bengio (2010) take the mean of both. A ReLU sets half of the numbers to zero, which
# halves the mean square, and He et al. (2015) make up for it:
#
# $$\text{Glorot: } \mathrm{Var}(w) = \frac{2}{n_\text{in} + n_\text{out}} \qquad
# \text{He: } \mathrm{Var}(w) = \frac{2}{n_\text{in}}$$


# %%
def norms(activation, initialization, deviation=1.0):
    """Return the norm of the gradient at the output of each hidden layer."""
    network, weights = ten_layers(activation, initialization, deviation)
    found = numpy_model.gradients(numpy_model.build_model(network), weights, batch)
    return np.array([norm(gradient) for gradient in found.flow])


choices = {
    "ReLU, deviation 1": ("ReLU", "normal", 1.0),
    "ReLU, He": ("ReLU", "He"),
    "tanh, Glorot": ("tanh", "Glorot"),
    "ReLU, deviation 0.05": ("ReLU", "normal", 0.05),
    "sigmoid, Glorot": ("sigmoid", "Glorot"),
}
by_layer = {name: norms(*choice) for name, choice in choices.items()}
for name, values in by_layer.items():
    print(f"{name:21} gradient at layer 1 / at layer 10: {values[0] / values[-1]:.1e}")

# %% tags=["page"]
arrives = {name: values[0] / values[-1] for name, values in by_layer.items()}
assert arrives["ReLU, deviation 1"] > 1e6
assert 0.5 < arrives["ReLU, He"] < 2
assert 0.1 < arrives["tanh, Glorot"] < 1
assert arrives["ReLU, deviation 0.05"] < 1e-4

# %% tags=["fold"]
chart = charts.figure(size=(12, 5.6))
axes = chart.subplots()
for number, (name, values) in enumerate(by_layer.items()):
    charts.curve(axes, number, np.arange(1, 11), values, name)
charts.label_axes(axes, "hidden layer (the gradient travels from right to left)", "norm of the gradient")
charts.log_scale(axes)
axes.set_xticks(range(1, 11))
charts.legend_below(chart, axes, 3)
Image(
    charts.png(chart), alt="Gradient norm by layer: it explodes, stays, or vanishes, depending on the weights"
)

# %% [markdown]
# Read each curve from right to left. A straight line on this scale is a constant factor per layer. With a
# deviation of 1, the gradient of the ReLU network **explodes**: the first layer gets more than a million times as
# much as the last. With 0.05 it vanishes. He's weights keep it.
#
# > The initial weights decide whether a deep network starts to learn.

# %% [markdown]
# ### What it means for training
#
# The same digits, 150 steps of gradient descent. A blind guess among ten classes costs $\log 10 =$ 2.3026. Someone who
# knows how often each digit occurs in this batch pays 2.2925:


# %%
def train(activation, initialization, rate, steps=150):
    network, weights = ten_layers(activation, initialization)
    model, optimizer, losses = numpy_model.build_model(network), SGD(weights, lr=rate), []
    for _ in range(steps):
        found = numpy_model.gradients(model, weights, batch)
        losses.append(found.loss)
        optimizer.step(found.parameters)
    return losses


curves = {
    "sigmoid, Glorot": train("sigmoid", "Glorot", 0.1),
    "sigmoid, Glorot, ten times the rate": train("sigmoid", "Glorot", 1.0),
    "tanh, Glorot": train("tanh", "Glorot", 0.1),
    "ReLU, He": train("ReLU", "He", 0.05),
}
for name, losses in curves.items():
    print(f"{name:36} loss {losses[0]:.2f} -> {losses[-1]:.3f}")
frequencies = np.bincount(batch.labels) / 100
guess = -(frequencies * np.log(frequencies)).sum()
np.testing.assert_allclose([np.log(10), guess], [2.3026, 2.2925], atol=5e-5)
assert all(abs(curves[name][-1] - guess) < 1e-3 for name in list(curves)[:2])
assert max(curves["tanh, Glorot"][-1], curves["ReLU, He"][-1]) < 0.05

# %% tags=["fold"]
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
for number, (name, losses) in enumerate(curves.items()):
    charts.curve(axes, number, np.arange(len(losses)), losses, name)
axes.set_ylim(0, 4)
charts.label_axes(axes, "step", "cross-entropy")
axes.legend()
Image(charts.png(chart), alt="Both sigmoid networks stay at 2.3, a guess; tanh and ReLU fall to almost 0")

# %% [markdown]
# The sigmoid network learns how often each digit occurs, and nothing else, at both learning rates: that takes only
# the last bias. Deeper networks need more help: batch normalization
# ([lesson 8](08_regularization.ipynb)), and sums that skip a layer. `make train-gradient-flow` draws both.

# %% [markdown]
# ## Clipping
#
# Even good initial weights do not rule out a single huge gradient later. **Clipping** limits its length. If the norm
# of all gradients together exceeds a limit $c$, they are all scaled by the same factor:
#
# $$n = \sqrt{\sum g^2} \qquad g \leftarrow g \cdot \min\left(1, \frac{c}{n}\right)$$
#
# The direction stays the same. Slide B13 has the gradients (1, 2) and (3, 4) and the limit 5. Their norm
# is 5.4772, so the factor is 0.9129.

# %% tab="by hand"
clipped = {"first": np.array([1.0, 2.0]), "second": np.array([3.0, 4.0])}
length = clip_grad_norm_(clipped, max_norm=5.0)
print(f"norm {length:.4f}, factor {clipped['first'][0]:.4f}:", *clipped.values())
assert abs(length - 5.4772) < 5e-5
assert abs(clipped["first"][0] - 0.9129) < 5e-5

# %% tab="PyTorch"
weights = [torch.zeros(2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
for weight, gradient in zip(weights, ([1.0, 2.0], [3.0, 4.0])):
    weight.grad = torch.tensor(gradient, dtype=torch.float64)
length = torch.nn.utils.clip_grad_norm_(weights, max_norm=5.0)
print(f"norm {length:.4f}:", *(weight.grad.numpy() for weight in weights))
np.testing.assert_allclose(weights[1].grad, clipped["second"], rtol=1e-12)

# %% tab="TensorFlow"
gradients = [tf.constant([1.0, 2.0], tf.float64), tf.constant([3.0, 4.0], tf.float64)]
scaled, length = tf.clip_by_global_norm(gradients, 5.0)
print(f"norm {float(length):.4f}:", *(gradient.numpy() for gradient in scaled))
np.testing.assert_allclose(scaled[1], clipped["second"], rtol=1e-6)  # torch adds 1e-6 to the norm

# %% [markdown]
# What is it good for? Let ten layers share one weight, as the steps of a recurrent network do. Without
# activations the output is $w^{10}$. Its target is 1:
#
# $$L = (w^{10} - 1)^2 \qquad \frac{dL}{dw} = 2 (w^{10} - 1) \cdot 10 \, w^9$$
#
# At $w = 1.5$ the gradient is 43,568, and one step with a learning rate of 0.01 leads to -434. Clipped to a
# norm of 1, the same descent arrives at 1.


# %%
def descend(limit, steps, w=1.5, rate=0.01):
    path = [w]
    for _ in range(steps):
        gradient = {"w": np.array([2 * (w**10 - 1) * 10 * w**9])}
        clip_grad_norm_(gradient, limit)
        w = w - rate * gradient["w"][0]
        path.append(w)
    return np.array(path)


plain, limited = descend(np.inf, 1), descend(1.0, 80)
print(f"without clipping, one step: {plain[1]:.1f}; with clipping, 80 steps: {limited[-1]:.4f}")
np.testing.assert_allclose(plain[1], 1.5 - 0.01 * 43_568, rtol=1e-5)
assert round(plain[1]) == -434
assert abs(limited[-1] - 1) < 1e-3

# %% tags=["fold"]
w = np.linspace(0, 1.52, 200)
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
axes.plot(w, (w**10 - 1) ** 2 + 1e-3, color=charts.GRAY, lw=2.5, label="loss")
shown = limited[:60]
axes.plot(shown, (shown**10 - 1) ** 2 + 1e-3, "o-", color=charts.BLUE, ms=5, label="steps with clipping")
arrow = {"arrowstyle": "->", "color": charts.VERMILLION, "lw": 2.5, "ls": "--"}
axes.annotate("", (0, 3e3), (1.48, 3e3), arrowprops=arrow)
axes.text(0.05, 8e2, "without clipping, the first step leads to −434", color=charts.VERMILLION)
charts.label_axes(axes, "shared weight w", "loss + 0.001")
charts.log_scale(axes)
axes.legend(loc="lower left")
Image(
    charts.png(chart),
    alt="A loss like a cliff: with clipping, small steps lead down to w = 1; without, one step to -434",
)

# %% [markdown]
# Clipping helps against exploding gradients only. A gradient that has vanished is not made longer by it.

# %% [markdown]
# ## What the decks get wrong
#
# ### A product that becomes a number
#
# Slide A11 multiplies the slopes with `np.dot`.
#
# > `np.dot` of two vectors is the **sum** of their products: 100 slopes become a single number.
#
# At depth 10 the result is 312500000 for ReLU and 5.112e20 for the sigmoid, and neither can be plotted against
# 100 points. At an odd depth such as 9, a curve is left, with a maximum of 6250000. The right maximum is
# 1 for ReLU, and 9.48e-7 for the sigmoid.


# %%
def powers_by_dot(slopes, depth):
    result = slopes
    for _ in range(depth - 1):
        result = np.dot(result, slopes)
    return result


z = np.linspace(-5, 5, 100)
of_sigmoid, of_relu = z * (1 - z), (z > 0).astype(int)  # the slopes as the slide computes them
print(f"depth 10: sigmoid {powers_by_dot(of_sigmoid, 10):.4g}, ReLU {powers_by_dot(of_relu, 10)}")
print(f"depth 9:  ReLU, a curve that rises to {powers_by_dot(of_relu, 9).max()}")
right = [ten_slopes(layer, z).max() for layer in (Sigmoid(), ReLU())]
print(f"right:    sigmoid at most {right[0]:.2e}, ReLU {right[1]:g}")
np.testing.assert_allclose(powers_by_dot(of_sigmoid, 10), 5.112e20, rtol=1e-3)
assert powers_by_dot(of_relu, 10) == 312500000
assert powers_by_dot(of_relu, 9).max() == 6250000
np.testing.assert_allclose(right, [9.48e-7, 1], rtol=1e-3)

# %% [markdown]
# ### Inputs instead of outputs
#
# The same slide makes the mistake that [lesson 1](01_one_neuron.ipynb) describes: its derivative expects outputs of
# the sigmoid and gets inputs from -5 to 5.
#
# > Its slopes go from -30 to 0.2479. The right ones go from 0.00665 to 0.24984.

# %%
layer = Sigmoid()
layer.forward(z)
slopes = layer.backward(np.ones(100))
print(f"published: {of_sigmoid.min():.2f} to {of_sigmoid.max():.4f}")
print(f"right:     {slopes.min():.5f} to {slopes.max():.5f}")
np.testing.assert_allclose([of_sigmoid.min(), of_sigmoid.max()], [-30, 0.2479], atol=5e-5)
np.testing.assert_allclose([slopes.min(), slopes.max()], [0.00665, 0.24984], atol=5e-6)

# %% [markdown]
# ### Gradients of no network
#
# Slide B10 prints a gradient for each of ten layers. The numbers look healthy, about 0.18 in every layer after the first.
#
# > They are random numbers times a slope, different in each run. No loss and no weight is involved, and the slide's
# > network is never called.
#
# In a network with the slide's sizes and weights, the gradient of the first matrix is less than 0.005 of that of
# the last (the median of 20 networks).


# %%
def published(seed):
    rng = np.random.default_rng(seed)
    x, sizes = rng.normal(size=(1, 10)), []
    for _ in range(10):
        x = 1 / (1 + np.exp(-x))
        sizes.append(np.abs(rng.normal(size=(10, 10)) * x * (1 - x)).mean())
    return np.array(sizes)


def of_a_network(seed):
    rng = np.random.default_rng(seed)
    layers = [Linear(10, 10, bias=False, dtype=np.float64) for _ in range(10)]
    for layer in layers:
        layer.params["weight"][...] = rng.normal(size=(10, 10))
    network = Sequential(*(part for layer in layers for part in (layer, Sigmoid())))
    output = network.forward(rng.normal(size=(1, 10)))
    network.backward(np.ones_like(output))
    return np.array([np.abs(layer.grads["weight"]).mean() for layer in layers])


printed = np.mean([published(seed) for seed in range(100)], axis=0)
true = np.median([of_a_network(seed) for seed in range(20)], axis=0)
share = np.median([sizes[0] / sizes[-1] for sizes in map(of_a_network, range(20))])
print("printed:", printed[1:].round(2))
print(f"the gradient of a network's first layer is {share:.4f} of that of the last")
np.testing.assert_allclose(printed[1:], 0.18, atol=0.01)
assert share < 0.005

# %% tags=["fold"]
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
charts.curve(axes, 0, np.arange(1, 11), true, "ten sigmoid layers: median of 20 networks")
charts.curve(axes, 1, np.arange(1, 11), printed, "slide B10: mean of 100 runs")
charts.label_axes(axes, "layer", "mean size of the gradient of the weights")
charts.log_scale(axes)
axes.set_xticks(range(1, 11))
axes.legend(loc="lower right")
Image(
    charts.png(chart),
    alt="The slide's numbers are flat at 0.18; the gradients of a network fall toward the first layer",
)

# %% [markdown]
# Measure a gradient with a backward pass, and compare it with a finite difference ([lesson 1](01_one_neuron.ipynb)).
# The [errata](../docs/errata.md) have the tests. The numbers of slide B13 are right, and so are the functions of
# B8 and C4; [lesson 2](02_forward_pass.ipynb#not-a-mistake-the-sigmoid-that-overflows) says why their sigmoid warns.

# %% [markdown]
# ## Exercises
#
# The solutions are in [solutions/lesson_07.py](solutions/lesson_07.py).
#
# > **1. Write a backward pass.** SiLU, also called swish, is $f(z) = z \, \sigma(z)$. Derive its slope with the
# > product rule, and fill in `backward`.


# %%
class MySiLU:
    def forward(self, x):
        self.x, self.s = x, 1 / (1 + np.exp(-x))
        return self.x * self.s

    def backward(self, dy):
        """Return dx."""
        ...


print(check(MySiLU(), np.random.default_rng(0).normal(size=(4, 3))))

# %% [markdown]
# > **2. Predict a number.** For 50 inputs, He's deviation is $\sqrt{2 / 50} = 0.2$. Someone takes 0.1 in all ten
# > layers of a ReLU network without biases. By what factor does the gradient of the input shrink? The
# > random numbers are the same, so the answer is exact.

# %%
prediction = None  # your factor


def input_gradient(deviation):
    rng, layers = np.random.default_rng(0), []
    for _ in range(10):
        layers += [Linear(50, 50, bias=False, dtype=np.float64), ReLU()]
        layers[-2].params["weight"][...] = deviation * rng.standard_normal((50, 50))
    network = Sequential(*layers)
    return network.backward(np.ones_like(network.forward(rng.standard_normal((1, 50)))))


measured = np.linalg.norm(input_gradient(0.1)) / np.linalg.norm(input_gradient(0.2))
print("not answered yet" if prediction is None else f"off by a factor of {prediction / measured:.4g}")

# %% [markdown]
# > **3. Find the mistake.** This function is supposed to limit the norm of all gradients together to 2. What does
# > it do to their direction, and what is the norm afterwards?


# %%
def clip(gradients, limit):
    for gradient in gradients:
        length = np.linalg.norm(gradient)
        if length > limit:
            gradient *= limit / length


mine = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
clip(mine, 2.0)
print("gradients", *mine, f"norm {np.linalg.norm(np.concatenate(mine)):.3f}")
assert np.linalg.norm(np.concatenate(mine)) > 2.5

# %% [markdown]
# ## What to remember
#
# - Each layer multiplies the gradient by its slope and its weights.
# - Ten sigmoids leave at most a millionth; active ReLUs pass on everything.
# - Initialize with He's weights for ReLU, and with Glorot's for tanh.
# - Clip the norm of all gradients together: the length changes, the direction stays.
# - A vanishing gradient is not an error message. Measure it, layer by layer.
#
# In the browser: after `make train-xor`, `make explore run=latest` writes
# [a page](../docs/usage.md#explore-a-network) that computes your network forward and backward. Append
# `#mode=backward&start=drawn&depth=6` to its address to see the gradients vanish in six sigmoid layers.
