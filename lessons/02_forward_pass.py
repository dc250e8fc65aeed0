# %% [markdown]
# # 2. The forward pass
#
# > A network is a chain of simple steps: multiply, add, bend. The forward pass takes them in order.
#
# This lesson starts with one layer and ends with four examples that go through a network at once. The numbers
# are those of the decks, so that you can compare. You need to know what a matrix product is. Reading takes
# about fifteen minutes.

# %% tags=["page"]
import numpy as np
from IPython.display import Image, Markdown

from shared import charts
from shared.backprop import Adam, Linear, MSELoss, ReLU, Sequential, Sigmoid

# %% [markdown]
# ## A layer of three neurons
#
# A neuron multiplies its inputs by weights, adds a bias, and passes the sum through an activation function.
# A layer is several neurons that read the same inputs. Their weights form a matrix with a column for each
# neuron:
#
# $$z_j = \sum_i x_i W_{ij} + b_j \qquad y_j = \max(z_j, 0)$$
#
# The activation here is the ReLU: negative numbers become zero, and the others stay. Slide B2 has the inputs
# 1, 2 and 3, the weights 0.1 to 0.9 and a bias of 0.1 for each neuron. The first neuron computes
# $1 \cdot 0.1 + 2 \cdot 0.4 + 3 \cdot 0.7 + 0.1 = 3.1$, the others 3.7 and 4.3.

# %% tab="by hand"
x = np.array([[1.0, 2.0, 3.0]])
W = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
b = np.array([0.1, 0.1, 0.1])

y = np.maximum(x @ W + b, 0)

# the same with the layers of this repository, which keep a row for each neuron
layer = Sequential(Linear(3, 3, dtype=np.float64), ReLU())
layer.load_state_dict({"0.weight": W.T, "0.bias": b})
print("by hand:", y.round(10), " with layers:", layer.forward(x).round(10))
np.testing.assert_allclose(y, [[3.1, 3.7, 4.3]])
np.testing.assert_allclose(layer.forward(x), y)

# %% tab="PyTorch"
import torch

dense = torch.nn.Linear(3, 3, dtype=torch.float64)
with torch.no_grad():
    dense.weight.copy_(torch.tensor(W.T))  # a row for each neuron
    dense.bias.copy_(torch.tensor(b))

of_torch = torch.relu(dense(torch.tensor(x))).detach().numpy()
print(of_torch.round(10))
np.testing.assert_allclose(of_torch, y)

# %% tab="Keras"
import shared.training.keras_quiet  # without TensorFlow's notes on the screen
import keras

dense = keras.layers.Dense(3, activation="relu", dtype="float64")
dense.build((None, 3))
dense.set_weights([W, b])  # a column for each neuron

of_keras = np.array(dense(x))
print(of_keras.round(10))
np.testing.assert_allclose(of_keras, y)

# %% [markdown]
# Mind the layout of the matrix. The decks and Keras keep a **column** for each neuron, (inputs, neurons).
# PyTorch and this repository keep a **row**, (neurons, inputs), and transpose in the product. Confusing the two
# raises an error only if the sizes differ. Here they do not: $x W^\top$ would run and be wrong.

# %% tags=["page"]
wrong = np.maximum(x @ W.T + b, 0)
print("right:", y.round(10), " with the transposed matrix:", wrong.round(10))
assert wrong.shape == y.shape
assert abs(wrong - y).max() > 1

# %% [markdown]
# ## Why the activation is needed
#
# Without it, two layers are no better than one. The product of two matrices is a matrix:
#
# $$(x W_1) W_2 = x (W_1 W_2)$$
#
# > A network without activation functions is one linear layer, however deep it is.
#
# With a bend in between, sums of neurons can take any shape. Three ReLUs make a bump:

# %% tags=["fold"]
line = np.linspace(-1, 3, 200)
ramps = [np.maximum(line - start, 0) for start in (0, 1, 2)]
bump = ramps[0] - 2 * ramps[1] + ramps[2]
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
for number, (ramp, name) in enumerate(zip(ramps, ("relu(x)", "relu(x - 1)", "relu(x - 2)"))):
    charts.curve(axes, number + 1, line, ramp, name)
charts.curve(axes, 0, line, bump, "relu(x) - 2 relu(x - 1) + relu(x - 2)")
charts.label_axes(axes, "x", "output")
axes.legend()
Image(
    charts.png(chart),
    alt="Three ramps that begin at 0, 1 and 2, and their weighted sum: a triangle from 0 to 2",
)

# %% tags=["page"]
rng = np.random.default_rng(0)
W1, W2 = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
np.testing.assert_allclose((x @ W1) @ W2, x @ (W1 @ W2))
assert (np.maximum(x @ W1, 0) @ W2 != x @ (W1 @ W2)).all()
assert abs(bump[line > 2]).max() < 1e-12

# %% [markdown]
# ## One example by hand
#
# Slide A2 sends the input (0.1, 0.2) through a network with two inputs, three hidden neurons and one output,
# all with sigmoids. Its weights are random, so the slide's numbers cannot be repeated. With fixed weights:


# %%
def sigmoid(z):
    return 1 / (1 + np.exp(-z))


x = np.array([[0.1, 0.2]])
hidden_weights = np.array([[0.2, 0.5, 0.9], [0.6, 0.1, 0.4]])
output_weights = np.array([[0.3], [0.8], [0.5]])

hidden = sigmoid(x @ hidden_weights)
output = sigmoid(hidden @ output_weights)
print("hidden layer:", hidden.round(4), " output:", output.round(4))
np.testing.assert_allclose(hidden, [[0.5349, 0.5175, 0.5424]], atol=5e-5)
np.testing.assert_allclose(output, [[0.6997]], atol=5e-5)

# %% [markdown]
# All weights of deck A lie between 0 and 1. With positive inputs, every sum is then positive, every sigmoid
# is above 0.5, and so is the output, whatever the weights are. The target of slide A3 is 0.3, so the network
# starts on the wrong side. Initial weights are usually centered at zero.

# %%
draws = [rng.uniform(size=(2, 3)) for _ in range(1000)]
outputs = [sigmoid(sigmoid(x @ draw) @ rng.uniform(size=(3, 1))).item() for draw in draws]
print(f"outputs of 1,000 random networks: {min(outputs):.2f} to {max(outputs):.2f}")
assert min(outputs) > 0.5

# %% [markdown]
# ## Four examples at once
#
# Decks C and D send all four rows of XOR through the network in one call. Nothing changes but the number of
# rows. No row affects another, and the bias is added to each. Here is C's network: two inputs, four
# hidden neurons, one output, normally distributed weights and biases of zero.

# %%
inputs = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
network = Sequential(Linear(2, 4, dtype=np.float64), Sigmoid(), Linear(4, 1, dtype=np.float64), Sigmoid())
normal = np.random.default_rng(0)
for name, value in network.params.items():
    value[...] = normal.normal(size=value.shape) if name.endswith("weight") else 0

batch = network.forward(inputs)
single = np.vstack([network.forward(row[None]) for row in inputs])
print("all at once:", batch.ravel().round(4))
print("one by one: ", single.ravel().round(4))
np.testing.assert_allclose(batch, single)

# %% tags=["fold"]
lines = ["| step | shape | what it holds |", "| --- | --- | --- |"]
value = inputs
lines.append(f"| input | {value.shape} | a row for each example |")
for layer, what in zip(
    network.children.values(), ("sums of the hidden layer", "its outputs", "sum of the output", "the output")
):
    value = layer.forward(value)
    lines.append(f"| `{layer}` | {value.shape} | {what} |")
Markdown("\n".join(lines))

# %% [markdown]
# The first axis is always that of the examples. When code fails, print the shapes along the way: most mistakes
# in a forward pass show up there.
#
# The first example shows something else. Its inputs are 0, so with biases of 0 each sum is 0, and all hidden
# neurons give exactly 0.5, whatever the weights are. Only biases can change that.

# %% tags=["page"]
hidden_of_zero = network.children["1"].forward(network.children["0"].forward(inputs[:1]))
np.testing.assert_allclose(hidden_of_zero, 0.5)

# %% [markdown]
# ## What the decks get wrong
#
# ### A layer without a bias
#
# The networks of A1 and B1 have no biases. XOR can be learned without them, but other simple tasks
# cannot. Take one input and ask for 1, 0, 1 at -1, 0, 1. A sum of sigmoids without biases is symmetric: as far
# as it rises from 0 to 1, it falls from 0 to -1.
#
# > Without biases, the output cannot be high on both sides and low in the middle.
#
# The best loss is 0.2222, from an output of 2/3 everywhere.

# %%
points, wanted = np.array([[-1.0], [0.0], [1.0]]), np.array([[1.0], [0.0], [1.0]])


def fit(bias):
    options = {"dtype": np.float64, "rng": np.random.default_rng(0)}
    network = Sequential(Linear(1, 3, bias, **options), Sigmoid(), Linear(3, 1, bias, **options), Sigmoid())
    loss, optimizer = MSELoss(), Adam(network.params, lr=0.05)
    for _ in range(2000):
        loss.forward(network.forward(points), wanted)
        network.backward(loss.backward())
        optimizer.step(network.grads)
    return loss.forward(network.forward(points), wanted), network.forward(points).ravel()


without, outputs = fit(bias=False)
with_bias, _ = fit(bias=True)
print(f"loss without biases {without:.4f}, outputs {outputs.round(2)}; with biases {with_bias:.4f}")
assert abs(without - 0.2222) < 2e-4
assert with_bias < 0.001

# %% [markdown]
# With biases, the loss falls below 0.001. `Linear` has a bias unless you ask for none.
#
# ### A constant input and a bias
#
# Deck D does the opposite. Its inputs have a third column that is always 1, and its layers have biases as
# well.
#
# > A weight on a constant input **is** a bias: both add the same number to every example, and both get the
# > same gradient.
#
# One of them is redundant. That does no harm, except that the bias learns twice as fast.

# %%
constant = np.hstack([inputs, np.ones((4, 1))])
layer = Linear(3, 4, dtype=np.float64, rng=np.random.default_rng(0))
layer.forward(constant)
layer.backward(np.random.default_rng(1).normal(size=(4, 4)))
print("gradient of the third column:", layer.grads["weight"][:, 2].round(3))
print("gradient of the bias:        ", layer.grads["bias"].round(3))
np.testing.assert_allclose(layer.grads["weight"][:, 2], layer.grads["bias"])

# %% [markdown]
# ### Not a mistake: the sigmoid that overflows
#
# The decks' sigmoid, `1 / (1 + np.exp(-x))`, prints a warning for large negative numbers, because the
# exponential overflows.
#
# > The value is right despite the overflow: 1 divided by infinity is 0.

# %%
with np.errstate(over="ignore"):
    print(sigmoid(np.array([-1000.0, -709.0])))
    assert sigmoid(-1000.0) == 0

# %% [markdown]
# Slides B1 to B7 also use `np` before slide B8 imports it. The [errata](../docs/errata.md) list these findings
# with their tests.

# %% [markdown]
# ## Exercises
#
# The solutions are in [solutions/lesson_02.py](solutions/lesson_02.py).
#
# > **1. Predict a number.** The network of slide A12 has 784 inputs, layers of 128 and 64 neurons, and 10 outputs.
# > How many weights and biases does it have? Count each layer, then let the code count.

# %%
prediction = None  # your number
layers = [Linear(784, 128), Linear(128, 64), Linear(64, 10)]
count = sum(value.size for layer in layers for value in layer.params.values())
print("not answered yet" if prediction is None else f"right: {prediction == count}")

# %% [markdown]
# > **2. Write a forward pass.** Fill in a layer with a tanh. Its matrix has a column for each neuron.


# %%
def tanh_layer(x, W, b):
    """Return the outputs (N, neurons), given x (N, inputs), W (inputs, neurons) and b (neurons,)."""
    ...


result = tanh_layer(inputs, np.ones((2, 3)), np.zeros(3))
right = np.tanh(inputs @ np.ones((2, 3)))
print("not written yet" if result is None else f"right: {np.allclose(result, right)}")

# %% [markdown]
# > **3. Find the mistake.** This layer has three neurons and a bias for each. It gives the right result for
# > one example and a wrong one for three, without an error. Why?


# %%
def layer_with_mistake(x, W, b):
    b = b.reshape(-1, 1) if len(x) > 1 else b
    return x @ W + b


three = np.arange(6.0).reshape(3, 2)
W, b = np.ones((2, 3)), np.array([10.0, 20.0, 30.0])
print(layer_with_mistake(three, W, b))
assert not np.allclose(layer_with_mistake(three, W, b), three @ W + b)

# %% [markdown]
# ## What to remember
#
# - A layer: $y = f(x W + b)$, with a row of $x$ for each example.
# - Without an activation function, a deep network is a single linear layer.
# - PyTorch keeps a row of weights for each neuron, Keras a column.
# - Use biases: without one, the sum of a neuron is 0 at $x = 0$, whatever its weights are.
# - Print the shapes.
