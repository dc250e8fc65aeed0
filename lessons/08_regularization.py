# %% [markdown]
# # 8. Normalization and regularization
#
# > Normalization helps a network to learn. Regularization keeps it from learning its examples by heart.
#
# The first half of this lesson is batch normalization, forward and backward. The second half trains a network that
# memorizes 200 digits, wrong labels included, and tries four remedies. You need
# [lesson 4](04_backward_by_hand.ipynb) and [lesson 7](07_deep_networks.ipynb). Reading takes about twenty minutes.

# %% tags=["page"]
import numpy as np
from IPython.display import Image, Markdown

from apps.gradient_flow import numpy_model
from apps.gradient_flow.data import pixels
from apps.gradient_flow.networks import Dense
from apps.gradient_flow.weights import initial_weights
from shared import charts
from shared.backprop import SGD, Adam, BatchNorm1d, CrossEntropyLoss, Dropout, Linear, ReLU, Sequential
from shared.backprop import l1_penalty, l2_penalty
from shared.data import digits
from shared.data.examples import Examples
from tools.check import check

numpy_model.prepare(threads=1)  # faster for matrices as small as these

# %% [markdown]
# ## Batch normalization
#
# Take the numbers that one neuron computes for the examples of a batch. Subtract their mean, divide by their standard
# deviation, and let the network choose a new scale $\gamma$ and shift $\beta$:
#
# $$\hat{x} = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \qquad y = \gamma \, \hat{x} + \beta$$
#
# Slide B14 has three examples with two features: (1, 2), (3, 4) and (5, 6). In each column the mean is in the
# middle, so the columns become -1.2247, 0 and 1.2247. At first, $\gamma$ is 1 and $\beta$ is 0.

# %% tab="by hand"
three = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
layer = BatchNorm1d(2, dtype=np.float64)
y = layer.forward(three)
print(y.round(4))
np.testing.assert_allclose(y, [[-1.2247] * 2, [0] * 2, [1.2247] * 2], atol=5e-5)

# %% tab="PyTorch"
import torch

y_torch = torch.nn.BatchNorm1d(2, dtype=torch.float64)(torch.tensor(three)).detach().numpy()
print(y_torch.round(4) + 0.0)
np.testing.assert_allclose(y_torch, y, atol=1e-12)

# %% tab="Keras"
import shared.parity  # torch's compiler must be loaded before TensorFlow
import shared.training.keras_quiet  # without TensorFlow's notes on the screen
import keras

y_keras = keras.layers.BatchNormalization(epsilon=1e-5, dtype="float64")(three, training=True).numpy()
print(y_keras.round(4))
np.testing.assert_allclose(y_keras, y, atol=1e-12)  # its epsilon is 1e-3, unless you set it

# %% [markdown]
# ### Weights of any size
#
# Behind a linear layer this has a remarkable effect: if all its weights become 100 times as large, so do the mean
# and the deviation, and the result stays the same. The initial weights, on which everything depended in
# [lesson 7](07_deep_networks.ipynb), lose their importance.

# %%
rng = np.random.default_rng(0)
x, weight = rng.normal(size=(50, 8)), rng.normal(size=(2, 8))
layer = BatchNorm1d(2, eps=0, dtype=np.float64)
change = abs(layer.forward(x @ weight.T) - layer.forward(x @ (100 * weight).T)).max()
print(f"100 times the weights change the output by {change:.0e}")
assert change < 1e-12

# %% [markdown]
# Here are the ten sigmoid layers of lesson 7, which learned nothing, with and without batch normalization:


# %%
images = digits.load()
inputs = pixels(images.train_images[:100])
batch = Examples((inputs - inputs.mean()) / inputs.std(), images.train_labels[:100])


def train_deep(norm, steps=150):
    network = Dense(inputs=196, width=64, depth=10, activation="sigmoid", norm=norm)
    weights = initial_weights(network, "Glorot", 1.0, np.random.default_rng(0))
    model, optimizer, losses = numpy_model.build_model(network), SGD(weights, lr=0.5), []
    for _ in range(steps):
        found = numpy_model.gradients(model, weights, batch)
        losses.append(found.loss)
        optimizer.step(found.parameters)
    return losses


plain, normalized = train_deep(norm=False), train_deep(norm=True)
print(f"after 150 steps: without {plain[-1]:.2f}, with batch normalization {normalized[-1]:.2f}")
assert plain[-1] > 2.28
assert normalized[-1] < 0.05

# %% tags=["fold"]
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
charts.curve(axes, 0, np.arange(150), plain, "ten sigmoid layers")
charts.curve(axes, 1, np.arange(150), normalized, "with batch normalization")
charts.label_axes(axes, "step", "cross-entropy")
axes.legend(loc="center right")
Image(
    charts.png(chart),
    alt="Without batch normalization the loss stays at 2.3; with it, the loss falls to almost 0",
)

# %% [markdown]
# ## The way back
#
# In the forward pass, an example affects the output in three ways: directly, through the mean, and through the
# variance. Three paths, so three terms:
#
# $$\mathit{dx} = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} \left( \mathit{dy} - \mathrm{mean}(\mathit{dy}) -
# \hat{x} \; \mathrm{mean}(\mathit{dy} \, \hat{x}) \right)$$
#
# $$\mathit{d\gamma} = \sum \mathit{dy} \, \hat{x} \qquad \mathit{d\beta} = \sum \mathit{dy}$$
#
# The means and sums are over the batch. The first mean removes what would shift all outputs: adding a constant to the
# inputs changes nothing. The second removes what would stretch them. So each column of $\mathit{dx}$ adds up to 0,
# and so does its product with $\hat{x}$, up to the small $\epsilon$.

# %% tab="by hand"
x, dy = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
layer = BatchNorm1d(2, dtype=np.float64)
xhat = layer.forward(x)
dx = (dy - dy.mean(axis=0) - xhat * (dy * xhat).mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
print(dx.round(4))
np.testing.assert_allclose(layer.backward(dy), dx, rtol=1e-9)
np.testing.assert_allclose(dx.sum(axis=0), 0, atol=1e-12)
np.testing.assert_allclose((dx * xhat).sum(axis=0), 0, atol=1e-4)

# %% tab="PyTorch"
x_torch = torch.tensor(x, requires_grad=True)
torch.nn.BatchNorm1d(2, dtype=torch.float64)(x_torch).backward(torch.tensor(dy))
print(x_torch.grad.numpy().round(4))
np.testing.assert_allclose(x_torch.grad, dx, atol=1e-12)

# %% tab="TensorFlow"
import tensorflow as tf

x_tensor = tf.constant(x)
with tf.GradientTape() as tape:
    tape.watch(x_tensor)
    y_tensor = keras.layers.BatchNormalization(epsilon=1e-5, dtype="float64")(x_tensor, training=True)
dx_tensor = tape.gradient(y_tensor, x_tensor, output_gradients=tf.constant(dy)).numpy()
print(dx_tensor.round(4))
np.testing.assert_allclose(dx_tensor, dx, atol=1e-12)

# %% [markdown]
# ### Training and evaluation
#
# A prediction should not depend on what else is in the batch. So the layer keeps running means during training:
#
# $$\mu_\text{run} \leftarrow 0.9 \, \mu_\text{run} + 0.1 \, \mu \qquad
# \sigma^2_\text{run} \leftarrow 0.9 \, \sigma^2_\text{run} + 0.1 \, \sigma^2$$
#
# After `eval()`, it uses these instead of the batch's own.

# %%
layer = BatchNorm1d(2, dtype=np.float64)
for _ in range(100):
    layer.forward(three)
layer.eval()
alone = np.concatenate([layer.forward(three[row : row + 1]) for row in range(3)])
print("one by one:", alone[:, 0].round(4), " together:", layer.forward(three)[:, 0].round(4))
np.testing.assert_array_equal(alone, layer.forward(three))
np.testing.assert_allclose(alone[0, 0], -1, atol=1e-4)

# %% [markdown]
# The first number is now -1 instead of -1.2247, because the running variance is the **unbiased** one, 4 instead of
# 8/3, in this repository as in PyTorch. In a large batch the two hardly differ. **Layer normalization**
# takes the mean over the features of one example instead, and needs no running statistics.

# %% [markdown]
# ## Overfitting
#
# Now the other problem. Here are 200 digits, and a fifth of their labels is drawn at random, so there is something
# wrong to memorize. The network has two hidden layers of 128 neurons: 43,018 parameters. 400 other digits are the
# **validation** set. Each epoch has four steps of 50 digits.

# %%
rng = np.random.default_rng(0)
order = rng.permutation(len(images.train_images))
chosen = pixels(images.train_images[order[:600]])
x_train, x_valid = np.split((chosen - chosen[:200].mean()) / chosen[:200].std(), [200])
y_train, y_valid = np.split(images.train_labels[order[:600]], [200])
y_train[:40] = rng.integers(0, 10, 40)  # wrong on purpose

# %% [markdown]
# One function trains it, with any of the remedies that follow:


# %%
def fit(l1=0.0, l2=0.0, dropout=0.0, epochs=100):
    """Train a network; return it, its losses (epochs, 2), and the weights of its best epoch."""
    rng, masks = np.random.default_rng(1), np.random.default_rng(2)
    loss, losses, best = CrossEntropyLoss(), [], {}
    new, drop = {"dtype": np.float64, "rng": rng}, lambda: Dropout(dropout, rng=masks)
    hidden = Linear(196, 128, **new), ReLU(), drop(), Linear(128, 128, **new), ReLU(), drop()
    network = Sequential(*hidden, Linear(128, 10, **new))
    matrices = {name: w for name, w in network.params.items() if w.ndim == 2}
    optimizer = Adam(network.params, lr=0.003)
    for _ in range(epochs):
        network.train()
        for rows in np.split(rng.permutation(200), 4):
            loss.forward(network.forward(x_train[rows]), y_train[rows])
            network.backward(loss.backward())
            for penalty, strength in ((l1_penalty, l1), (l2_penalty, l2)):
                for name, gradient in penalty(matrices, strength)[1].items():
                    network.grads[name] += gradient
            optimizer.step(network.grads)
        network.eval()
        train = loss.forward(network.forward(x_train), y_train)
        valid = loss.forward(network.forward(x_valid), y_valid)
        losses.append((float(train), float(valid)))
        if valid == min(one for _, one in losses):
            best = network.state_dict()
    return network, np.array(losses), best


# %% [markdown]
# Trained for 100 epochs, it learns all of its digits by heart:

# %%
network, losses, best_weights = fit()
lowest = losses[:, 1].argmin()
print(f"training loss {losses[-1, 0]:.2f}, validation loss {losses[-1, 1]:.2f}")
print(f"lowest validation loss: {losses[lowest, 1]:.2f}, after epoch {lowest + 1}")
assert sum(w.size for w in network.params.values()) == 43_018
assert losses[-1, 0] < 0.02
assert losses[-1, 1] > 2 * losses[lowest, 1]

# %% tags=["fold"]
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
charts.curve(axes, 0, np.arange(1, 101), losses[:, 0], "training")
charts.curve(axes, 1, np.arange(1, 101), losses[:, 1], "validation")
axes.axvline(lowest + 1, color=charts.BLACK, ls=":", lw=2, label="early stopping takes this epoch")
charts.label_axes(axes, "epoch", "cross-entropy")
axes.set_ylim(0)
axes.legend()
Image(charts.png(chart), alt="The training loss falls to 0; the validation loss falls first and then rises")

# %% [markdown]
# > The training loss falls to 0. The validation loss falls at first, and then rises to more than twice its minimum.
#
# From there on, the network learns nothing about digits, only about these 200. Four remedies follow.

# %% [markdown]
# ## Early stopping
#
# Stop when the validation loss has not fallen for a while, and take the weights of the best epoch. It costs nothing,
# but the validation set has helped to choose, so its loss is no longer an honest estimate. The **test** set, 360
# more digits, is kept for the end.


# %%
scale = chosen[:200].mean(), chosen[:200].std()
x_test, y_test = (pixels(images.test_images) - scale[0]) / scale[1], images.test_labels


def test_accuracy(network):
    return (network.eval().forward(x_test).argmax(axis=1) == y_test).mean()


accuracy = {"nothing": test_accuracy(network)}
network.load_state_dict(best_weights)
accuracy["early stopping"] = test_accuracy(network)
print({name: f"{value:.0%}" for name, value in accuracy.items()})
assert accuracy["early stopping"] > accuracy["nothing"] + 0.05

# %% [markdown]
# ## L2 and L1
#
# A penalty on large weights is added to the loss. Two are common:
#
# $$\text{L2: } \frac{\lambda}{2} \sum w^2 \text{, gradient } \lambda w \qquad
# \text{L1: } \lambda \sum |w| \text{, gradient } \lambda \, \mathrm{sign}(w)$$
#
# L2 pulls each weight in proportion to its size, so it shrinks the large ones. L1 pulls all of them
# with the same force, so the small ones end at zero or next to it. Biases are not penalized.
#
# Beware of the factor: PyTorch's `weight_decay` is the $\lambda$ above, and Keras's `L2` has no 1/2. For the same
# step, Keras needs half the number. With $\lambda = 0.25$ and a weight of 3, the gradient is 0.75:

# %% tab="by hand"
value, gradients = l2_penalty({"w": np.array([3.0])}, 0.25)
print(f"penalty {value}, gradient {gradients['w']}")
print(f"L1: gradient {l1_penalty({'w': np.array([3.0])}, 0.25)[1]['w']}")
assert gradients["w"] == 0.75

# %% tab="PyTorch"
w = torch.tensor([3.0], requires_grad=True)
w.grad = torch.zeros(1)
torch.optim.SGD([w], lr=1.0, weight_decay=0.25).step()
print(f"a step with a gradient of 0: from 3 to {w.item()}")
assert 3 - w.item() == 0.75

# %% tab="Keras"
w = tf.Variable([3.0])
with tf.GradientTape() as tape:
    penalty = keras.regularizers.L2(0.25 / 2)(w)
gradient = tape.gradient(penalty, w).numpy()
print(f"penalty {float(penalty)}, gradient {gradient}")
assert gradient == 0.75

# %% [markdown]
# ## Dropout
#
# In each step, every number of a layer is set to 0 with probability $p$. The others are divided by $1 - p$, so that
# the mean stays the same:
#
# $$y = \frac{m}{1 - p} \, x \qquad \mathit{dx} = \frac{m}{1 - p} \, \mathit{dy} \qquad
# P(m = 0) = p \text{, else } m = 1$$
#
# No neuron can rely on a particular other one. For evaluation, dropout is switched off.

# %% tab="by hand"
ones = np.ones(10_000)
dropout = Dropout(0.5, rng=np.random.default_rng(0))
dropped = dropout.forward(ones)
print(f"values {np.unique(dropped)}, mean {dropped.mean():.2f}", end="; ")
print("evaluation:", np.unique(dropout.eval().forward(ones)))
assert set(dropped) == {0, 2}
assert abs(dropped.mean() - 1) < 0.03

# %% tab="PyTorch"
torch.manual_seed(0)
dropout = torch.nn.Dropout(0.5)
dropped = dropout(torch.tensor(ones)).numpy()
print(f"values {np.unique(dropped)}, mean {dropped.mean():.2f}", end="; ")
print("evaluation:", np.unique(dropout.eval()(torch.tensor(ones))))
assert set(dropped) == {0, 2}

# %% tab="Keras"
dropout = keras.layers.Dropout(0.5, seed=0)
dropped = dropout(ones, training=True).numpy()
print(f"values {np.unique(dropped)}, mean {dropped.mean():.2f}", end="; ")
print("evaluation:", np.unique(dropout(ones, training=False)))
assert set(dropped) == {0, 2}

# %% [markdown]
# ## Five networks compared
#
# The same start, the same batches, 100 epochs:

# %%
runs = {"nothing": losses}
share_of_small = {}
for name, remedy in {"L1": {"l1": 0.003}, "L2": {"l2": 0.03}, "dropout": {"dropout": 0.5}}.items():
    network, runs[name], _ = fit(**remedy)
    accuracy[name] = test_accuracy(network)
    weights = np.concatenate([w.ravel() for w in network.params.values() if w.ndim == 2])
    share_of_small[name] = (abs(weights) < 0.01).mean()
assert all(accuracy[name] > accuracy["nothing"] + 0.05 for name in ("L1", "L2", "dropout"))
assert all(runs[name][-1, 0] > 0.1 for name in ("L1", "L2", "dropout"))
assert abs(np.sqrt(0.8 * 0.2 / 360) - 0.02) < 0.002  # standard error of an accuracy of 80 %
assert share_of_small["L1"] > 0.9 > share_of_small["L2"] > 0.5

# %% tags=["fold"]
rows = ["| | training loss | validation loss | test accuracy |", "| --- | --- | --- | --- |"]
for name, value in accuracy.items():
    train_loss, valid_loss = losses[lowest] if name == "early stopping" else runs[name][-1]
    rows.append(f"| {name} | {train_loss:.2f} | {valid_loss:.2f} | {value:.0%} |")
Markdown("\n".join(rows))

# %% tags=["fold"]
chart = charts.figure(size=(12, 5.6))
panels = chart.subplots(1, 4, sharey=True)
for axes, (name, one) in zip(panels, runs.items()):
    charts.curve(axes, 0, np.arange(1, 101), one[:, 0], "training")
    charts.curve(axes, 1, np.arange(1, 101), one[:, 1], "validation")
    charts.label_axes(axes, "epoch", "cross-entropy" if name == "nothing" else "", name)
panels[0].set_ylim(0, 2.5)
charts.legend_below(chart, panels[0], 2)
Image(
    charts.png(chart), alt="Losses by epoch in four panels: the gap between them is widest without a remedy"
)

# %% [markdown]
# Each remedy keeps the training loss from falling to 0, and each raises the test accuracy by more than five points.
# With L1, more than nine in ten weights end below 0.01. Which remedy is best depends on the data and on the strength of
# each remedy: on 360 digits the standard error of an accuracy is two points, so this table does not decide it.
# `make train-gradient-flow` compares them with other settings. The applications have the keys `optimizer.l1`,
# `optimizer.weight_decay`, `trainer.patience` and, where the network has dropout, `model.dropout`.

# %% [markdown]
# ## What the decks get wrong
#
# ### Statistics of the batch, always
#
# The function on slide B14 has no running statistics and no backward pass.
#
# > A single example always gives 0, whatever it is. And the output of one example depends on the others.
#
# The example (1, 2) gives -1.2247 next to two others, and -1 next to one.


# %%
def published(x):
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)


for count in (1, 2, 3):
    print(f"{count} in the batch: (1, 2) becomes {(published(three[:count])[0] + 0.0).round(4)}")
np.testing.assert_array_equal(published(three[:1]), 0)
np.testing.assert_allclose(published(three[:2])[0], -1, atol=1e-5)
np.testing.assert_allclose(published(three)[0], -1.2247, atol=5e-5)

# %% [markdown]
# ### An explanation that was questioned
#
# The same slide says that batch normalization works because it reduces **internal covariate shift**: the inputs of
# a layer change while the layers before it learn. So did the paper that introduced it (Ioffe and Szegedy 2015).
#
# > In later experiments, networks with such a shift, added on purpose behind the normalization, trained about
# > as well.
#
# Santurkar et al. ("How Does Batch Normalization Help Optimization?", 2018) explain the success by a smoother loss
# instead. That the method works is not in doubt; why it works is still debated.

# %% [markdown]
# ### A penalty that depends on the number of matrices
#
# Slide C8 divides the L2 penalty by twice the number of matrices.
#
# > The more matrices, the weaker the penalty on each weight. Two matrices of zeros, which should add nothing, halve
# > it.
#
# For a strength of 0.1 and ten weights of 1, the penalty is 0.25 with two matrices, and 0.125 with four. It
# should be 0.5 in both cases.


# %%
def penalty(weights, strength):
    return strength * sum((w * w).sum() for w in weights) / (2 * len(weights))


two = [np.ones((3, 2)), np.ones((2, 2))]
four = [*two, np.zeros((1, 1)), np.zeros((1, 1))]
for weights in (two, four):
    right = l2_penalty({str(n): w for n, w in enumerate(weights)}, 0.1)[0]
    print(f"{len(weights)} matrices: published {penalty(weights, 0.1):.3f}, right {right:.1f}")
    np.testing.assert_allclose(right, 0.5)
np.testing.assert_allclose([penalty(two, 0.1), penalty(four, 0.1)], [0.25, 0.125])

# %% [markdown]
# The deck probably confuses it with the number of **examples**, by which some textbooks divide.
#
# ### Dropout without a mode
#
# The dropout of slide C8 is right in training. But it is a function that always drops.
#
# > Two predictions for the same 1,000 numbers differ in half of them. The caller must remember to pass a keep
# > probability of 1.


# %%
def drop(x, keep, rng):
    return x * (rng.random(x.shape) < keep) / keep


rng, numbers = np.random.default_rng(0), np.ones(1000)
differ = (drop(numbers, 0.5, rng) != drop(numbers, 0.5, rng)).mean()
print(f"two calls differ in {differ:.0%} of the numbers")
assert abs(differ - 0.5) < 0.05
np.testing.assert_array_equal(drop(numbers, 1.0, rng), numbers)

# %% [markdown]
# In this repository, as in PyTorch, `eval()` switches dropout off in the whole network. Slide C8 announces L1 and
# early stopping without showing them; they are above. The [errata](../docs/errata.md) have the tests.

# %% [markdown]
# ## Exercises
#
# The solutions are in [solutions/lesson_08.py](solutions/lesson_08.py).
#
# > **1. Write a backward pass.** This layer only subtracts the mean of the batch. An input affects its own output
# > directly, and all outputs through the mean. What is `dx`?


# %%
class MyCenter:
    def forward(self, x):
        return x - x.mean(axis=0)

    def backward(self, dy):
        """Return dx."""
        ...


print(check(MyCenter(), np.random.default_rng(0).normal(size=(4, 3))))

# %% [markdown]
# > **2. Predict two numbers.** A weight of 3 has a gradient of 0. Where is it after ten steps with a learning rate of
# > 0.1, with L2 and with L1, both of strength 0.5?

# %%
prediction = {"L2": None, "L1": None}  # your numbers
for name, penalty in {"L2": l2_penalty, "L1": l1_penalty}.items():
    params = {"w": np.array([3.0])}
    optimizer = SGD(params, lr=0.1)
    for _ in range(10):
        optimizer.step(penalty(params, 0.5)[1])
    guess = prediction[name]
    print(f"{name}:", "not answered yet" if guess is None else f"off by {abs(guess - params['w'][0]):.4f}")

# %% [markdown]
# > **3. Find the mistake.** This early stopping should return the parameters with the lowest validation loss, here the
# > distance to 1. They pass 1 after ten steps, yet it returns 2. Why?


# %%
def stop_early(w, steps=20):
    lowest, best = np.inf, None
    for _ in range(steps):
        w += 0.1  # a training step
        loss = abs(w[0] - 1)
        if loss < lowest:
            lowest, best = loss, w
    return best, lowest


best, lowest = stop_early(np.zeros(1))
print(f"lowest loss {lowest:.4f}, loss of the returned parameters {abs(best[0] - 1):.4f}")
assert abs(best[0] - 1) > 0.9

# %% [markdown]
# ## What to remember
#
# - Batch normalization: subtract the mean of the batch, divide by its deviation, then scale and shift.
# - Its backward pass has a path through the mean and one through the variance.
# - Call `eval()` before you predict: batch normalization and dropout behave differently then.
# - A low training loss proves nothing. Watch the validation loss.
# - L2 shrinks weights, L1 pushes them to zero, dropout removes neurons, early stopping takes the best epoch.
