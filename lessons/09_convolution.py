# %% [markdown]
# # 9. Convolution and pooling
#
# > A convolution looks at every place of an image with the same few weights.
#
# This lesson computes one with four loops and then with a single matrix product, goes back through it, adds pooling,
# and trains a network on handwritten digits. You need [lesson 4](04_backward_by_hand.ipynb). Reading takes about
# twenty minutes.

# %% tags=["page"]
import json
from pathlib import Path

import numpy as np
import threadpoolctl
from IPython.display import Image, Markdown

import shared
from apps.mnist_cnn import numpy_model
from apps.mnist_cnn.config import FastCnn, Mlp
from shared import charts
from shared.backprop import Adam, AvgPool2d, Conv2d, CrossEntropyLoss, MaxPool2d
from shared.data import digits
from tools.check import check

_ = threadpoolctl.threadpool_limits(1, "blas")  # faster for matrices as small as these
images = digits.load()

# %% [markdown]
# ## A kernel slides over an image
#
# Lay a small matrix of weights, the **kernel**, on a corner of the image. Multiply each weight by the pixel below it,
# and add up. Then move the kernel by one pixel and repeat:
#
# $$y_{rc} = \sum_{i} \sum_{j} W_{ij} \, x_{r + i, \, c + j} + b$$
#
# With several channels, each has a kernel of its own, and all products are added. Two kernels of $3 \times 3$ are
# enough to find the edges of a digit:

# %% tags=["fold"]
digit = images.train_images[7].astype(float)[None, None]
edges = np.array([[-1.0, 0.0, 1.0]] * 3)
layer = Conv2d(1, 2, 3, bias=False, dtype=np.float64)
layer.params["weight"][...] = np.stack([edges, edges.T])[:, None]
found = layer.forward(digit)[0]
chart = charts.figure(size=(12, 4.6))
panels = chart.subplots(1, 3)
panels[0].imshow(digit[0, 0], cmap="gray")
panels[0].set_title("28 × 28 pixels")
for axes, one, kind in zip(panels[1:], found, ("left and right", "top and bottom")):
    axes.imshow(one, cmap="PuOr_r", vmin=-abs(found).max(), vmax=abs(found).max())
    axes.set_title(f"26 × 26: {kind} edges")
for axes in panels:
    axes.set(xticks=[], yticks=[])
Image(charts.png(chart), alt="A digit, and the outputs of two kernels, which are large at its edges")

# %% [markdown]
# The output is smaller than the image, because the kernel must fit in. Zeros around the image, the **padding** $p$,
# make room; a **stride** $s$ above 1 skips places. For $n$ pixels and a kernel of $k$:
#
# $$n_\text{out} = \left\lfloor \frac{n + 2p - k}{s} \right\rfloor + 1$$


# %%
def output_size(n, k, stride=1, padding=0):
    return (n + 2 * padding - k) // stride + 1


print("28 pixels, kernel 3:", output_size(28, 3), " with padding 1:", output_size(28, 3, padding=1))
assert (output_size(28, 3), output_size(28, 3, padding=1)) == (26, 28)

# %% [markdown]
# ## Four loops and one matrix product
#
# Slide C9 has a loop each for the image, the kernel, the row and the column:


# %%
def four_loops(x, W, stride=1):
    k = W.shape[2]
    rows, columns = output_size(x.shape[2], k, stride), output_size(x.shape[3], k, stride)
    y = np.zeros((len(x), len(W), rows, columns))
    for n in range(len(x)):
        for o in range(len(W)):
            for r in range(rows):
                for c in range(columns):
                    window = x[n, :, r * stride : r * stride + k, c * stride : c * stride + k]
                    y[n, o, r, c] = (window * W[o]).sum()
    return y


rng = np.random.default_rng(0)
x, W = rng.normal(size=(2, 3, 8, 8)), rng.normal(size=(4, 3, 3, 3))  # images, kernels
y = four_loops(x, W)
print("output", y.shape, "first number", y[0, 0, 0, 0].round(4))

# %% [markdown]
# The same is a single matrix product, if the pixels of each window are written into a column. This is called **im2col**:
#
# $$Y = W X \qquad W: (\text{kernels} \times K) \qquad X: (K \times \text{windows}) \qquad K = \text{channels} \cdot k^2$$
#
# | four loops | one matrix product |
# | --- | --- |
# | over the images | one matrix $X$ for each image |
# | over the kernels | the rows of $W$ |
# | over the rows and columns of the output | the columns of $X$ |
# | the sum over a window | the sum that every product of a row and a column takes |

# %% tab="one matrix product"
windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))  # (2, 3, 6, 6, 3, 3)
X = windows.transpose(0, 1, 4, 5, 2, 3).reshape(2, 27, 36)  # a column per window
Y = W.reshape(4, 27) @ X
print("output", Y.reshape(2, 4, 6, 6).shape, "first number", Y[0, 0, 0].round(4))
np.testing.assert_allclose(Y.reshape(2, 4, 6, 6), y, rtol=1e-9, atol=1e-12)

# %% tab="PyTorch"
import torch

in_torch = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(W)).numpy()
print("output", in_torch.shape, "first number", in_torch[0, 0, 0, 0].round(4))
np.testing.assert_allclose(in_torch, y, rtol=1e-9, atol=1e-12)

# %% tab="TensorFlow"
import shared.parity  # torch's compiler must be loaded before TensorFlow
import shared.training.keras_quiet  # without TensorFlow's notes on the screen
import tensorflow as tf

# channels come last: images (N, H, W, C), kernels (k, k, in, out)
in_tensorflow = tf.nn.conv2d(x.transpose(0, 2, 3, 1), W.transpose(2, 3, 1, 0), 1, "VALID").numpy()
print("output", in_tensorflow.shape, "first number", in_tensorflow[0, 0, 0, 0].round(4))
np.testing.assert_allclose(in_tensorflow.transpose(0, 3, 1, 2), y, rtol=1e-9, atol=1e-12)

# %% [markdown]
# Here is the matrix $X$ for an image of $3 \times 3$ and a kernel of $2 \times 2$. Each color is one window:

# %% tags=["fold"]
pixels = np.arange(1, 10).reshape(3, 3)
columns = np.lib.stride_tricks.sliding_window_view(pixels, (2, 2)).transpose(2, 3, 0, 1).reshape(4, 4)
assert columns[:, 0].tolist() == [1, 2, 4, 5]
tints = [charts.SKY, charts.ORANGE, "#7fd0b5", "#e3b8d0"]


def draw_table(axes, table, left, top, title, color):
    for (row, column), value in np.ndenumerate(table):
        square = {"boxstyle": "square,pad=0.55", "fc": color(row, column), "ec": "black", "lw": 1.2}
        axes.text(
            left + 0.85 * column,
            top - 0.85 * row,
            str(value),
            bbox=square,
            fontsize=17,
            family="monospace",
            **charts.CENTERED,
        )
    axes.text(left + 0.425 * (table.shape[1] - 1), top + 0.95, title, fontsize=15, **charts.CENTERED)


chart = charts.figure(size=(12, 4.4))
axes = chart.subplots()
draw_table(axes, pixels, 0, 2.1, "image", lambda row, column: tints[0] if max(row, column) < 2 else "white")
draw_table(axes, np.array([["a", "b", "c", "d"]]), 3.9, 1.3, "kernel as a row", lambda *_: "white")
draw_table(axes, columns, 8.4, 2.5, "windows as columns", lambda _, column: tints[column])
outputs = np.array([["p", "q", "r", "s"]])
draw_table(axes, outputs, 13, 1.3, "output", lambda _, column: tints[column])
for place, sign in ((7.4, "×"), (11.95, "=")):
    axes.text(place, 1.3, sign, fontsize=24, **charts.CENTERED)
axes.set(xlim=(-0.8, 16.4), ylim=(-0.8, 3.9))
axes.axis("off")
Image(
    charts.png(chart),
    alt="The four windows of a 3 x 3 image become the columns of a matrix; the kernel is a row",
)

# %% [markdown]
# The matrix repeats most pixels, up to $k^2$ times, so it takes memory. But one large product is what
# processors do best. For 64 images of $28 \times 28$ and 32 kernels, the loops take 1,384,448 small
# steps in Python. A test of the [errata](../docs/errata.md) measures more than 50 times the time of the product.

# %%
steps = 64 * 32 * output_size(28, 3) ** 2
print(f"{steps:,} windows, one by one")
assert steps == 1_384_448

# %% [markdown]
# ## The way back
#
# A convolution is a linear layer on windows, so [lesson 4](04_backward_by_hand.ipynb)'s two rules apply. The weights
# are shared by all windows, and a pixel belongs to several windows. Where paths meet, add:
#
# $$\mathit{dW} = \mathit{dY} \, X^\top \qquad \mathit{dX} = W^\top \mathit{dY} \qquad
# \mathit{dx} = \text{each pixel's sum over its windows}$$

# %% tab="by hand"
dy = rng.normal(size=y.shape)
dY = dy.reshape(2, 4, 36)
dW = (dY @ X.transpose(0, 2, 1)).sum(axis=0).reshape(W.shape)
dX = (W.reshape(4, 27).T @ dY).reshape(2, 3, 3, 3, 6, 6)
dx = np.zeros_like(x)
for i in range(3):
    for j in range(3):
        dx[:, :, i : i + 6, j : j + 6] += dX[:, :, i, j]  # += because windows overlap

layer = Conv2d(3, 4, 3, bias=False, dtype=np.float64)
layer.params["weight"][...] = W
np.testing.assert_allclose(layer.forward(x), y, rtol=1e-9, atol=1e-12)
np.testing.assert_allclose(layer.backward(dy), dx, rtol=1e-9, atol=1e-12)
np.testing.assert_allclose(layer.grads["weight"], dW, rtol=1e-9, atol=1e-12)
print("dx", dx.shape, dx[0, 0, 0, :3].round(4), "dW", dW.shape)

# %% tab="PyTorch"
x_torch, W_torch = torch.tensor(x, requires_grad=True), torch.tensor(W, requires_grad=True)
torch.nn.functional.conv2d(x_torch, W_torch).backward(torch.tensor(dy))
print("dx", tuple(x_torch.grad.shape), x_torch.grad.numpy()[0, 0, 0, :3].round(4), end=" ")
print("dW", tuple(W_torch.grad.shape))
np.testing.assert_allclose(x_torch.grad, dx, rtol=1e-9, atol=1e-12)
np.testing.assert_allclose(W_torch.grad, dW, rtol=1e-9, atol=1e-12)

# %% tab="TensorFlow"
given = tf.constant(x.transpose(0, 2, 3, 1)), tf.constant(W.transpose(2, 3, 1, 0))
with tf.GradientTape() as tape:
    tape.watch(given)
    y_tensor = tf.nn.conv2d(*given, 1, "VALID")
dx_tensor, dW_tensor = tape.gradient(y_tensor, given, tf.constant(dy.transpose(0, 2, 3, 1)))
print("dx", tuple(dx_tensor.shape), dx_tensor.numpy()[0, 0, :3, 0].round(4), "dW", tuple(dW_tensor.shape))
np.testing.assert_allclose(dx_tensor.numpy().transpose(0, 3, 1, 2), dx, rtol=1e-9, atol=1e-12)
np.testing.assert_allclose(dW_tensor.numpy().transpose(3, 2, 0, 1), dW, rtol=1e-9, atol=1e-12)

# %% [markdown]
# ## Pooling
#
# Pooling makes the image smaller. Slide C10 takes the maximum of each $2 \times 2$ block, and announces the average
# without showing it. On the way back, the maximum passes its gradient to the pixel that won. The average passes a
# quarter to each pixel.

# %% tab="by hand"
block = np.array([[1.0, 3, 2, 0], [5, 4, 1, 1], [0, 2, 9, 6], [1, 1, 7, 8]])[None, None]
pooled = {}
for pool in (MaxPool2d(2), AvgPool2d(2)):
    output = pool.forward(block)[0, 0]
    pooled[type(pool).__name__] = output, pool.backward(np.ones((1, 1, 2, 2)))[0, 0]
    print(type(pool).__name__, *pooled[type(pool).__name__], sep="\n")
assert pooled["MaxPool2d"][0].tolist() == [[5, 2], [2, 9]]
assert pooled["AvgPool2d"][0].tolist() == [[3.25, 1], [1, 7.5]]
assert pooled["MaxPool2d"][1].sum() == pooled["AvgPool2d"][1].sum() == 4

# %% tab="PyTorch"
for kind in ("MaxPool2d", "AvgPool2d"):
    image = torch.tensor(block, requires_grad=True)
    output = getattr(torch.nn, kind)(2)(image)
    output.sum().backward()
    print(kind, output.detach().numpy()[0, 0], image.grad.numpy()[0, 0], sep="\n")
    np.testing.assert_array_equal(image.grad[0, 0], pooled[kind][1])

# %% tab="Keras"
import keras

for kind, name in (("MaxPool2d", "MaxPooling2D"), ("AvgPool2d", "AveragePooling2D")):
    image = tf.constant(block.transpose(0, 2, 3, 1))
    with tf.GradientTape() as tape:
        tape.watch(image)
        output = getattr(keras.layers, name)(2, dtype="float64")(image)
    gradient = tape.gradient(output, image).numpy()[0, :, :, 0]
    print(kind, output.numpy()[0, :, :, 0], gradient, sep="\n")
    np.testing.assert_array_equal(gradient, pooled[kind][1])

# %% [markdown]
# ## A network for digits
#
# Now a whole network: convolution, pooling, batch normalization and ReLU, twice, then two dense layers. It is
# `fast_cnn` of [apps/mnist_cnn](../apps/mnist_cnn/README.md) with fewer channels. The comparison is the dense
# network with the sizes of slide A12, which has nine times as many parameters.
#
# The 1,797 digits are scikit-learn's, in MNIST's format, because they need no download. For MNIST, replace
# `digits.load()` above by `mnist.load(Path("data"))` of [mnist.py](../shared/data/mnist.py). Training then takes
# minutes.


# %%
def standardized(pixels):
    return ((pixels - images.train_images.mean()) / images.train_images.std()).astype(np.float32)


x_train, y_train = standardized(images.train_images), images.train_labels
x_test, y_test = standardized(images.test_images), images.test_labels
convolutional = FastCnn(name="fast_cnn", channels=[8, 16], hidden=32)
dense = Mlp(name="mlp", hidden=[128, 64])

# %% [markdown]
# The training loop is that of [lesson 6](06_training_loop.ipynb), with four passes over the digits in batches of 32 or 33:


# %%
def train(config, x, epochs=4):
    rng, loss = np.random.default_rng(0), CrossEntropyLoss()
    network = numpy_model.build_model(config, np.float32, rng)
    optimizer = Adam(network.params, lr=0.003)
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(x)), len(x) // 32):
            loss.forward(network.forward(x[rows]), y_train[rows])
            network.backward(loss.backward())
            optimizer.step(network.grads)
    return network.eval()


def accuracy(network, x):
    return (network.forward(x).argmax(axis=1) == y_test).mean()


cnn, mlp = train(convolutional, x_train), train(dense, x_train)
sizes = [sum(w.size for w in network.params.values()) for network in (cnn, mlp)]
print(f"convolutional: {sizes[0]:,} parameters, accuracy {accuracy(cnn, x_test):.0%}")
print(f"dense: {sizes[1]:,} parameters, accuracy {accuracy(mlp, x_test):.0%}")
assert 9 < sizes[1] / sizes[0] < 10
assert accuracy(cnn, x_test) > accuracy(mlp, x_test) + 0.02

# %% [markdown]
# ### The same weights in three frameworks
#
# PyTorch and Keras compute the same logits from these weights:

# %% tab="PyTorch"
from apps.mnist_cnn import torch_model
from shared.parity.weights import numpy_to_keras, numpy_to_torch

network = torch_model.build_model(convolutional).eval()
numpy_to_torch(cnn, network)
with torch.no_grad():
    logits = network(torch.tensor(x_test)).numpy()
print(f"accuracy {(logits.argmax(axis=1) == y_test).mean():.0%}")
np.testing.assert_allclose(logits, cnn.forward(x_test), atol=1e-4)

# %% tab="Keras"
from apps.mnist_cnn import keras_model

network = keras_model.build_model(convolutional)
numpy_to_keras(cnn, network)
logits = network(x_test, training=False).numpy()
print(f"accuracy {(logits.argmax(axis=1) == y_test).mean():.0%}")
np.testing.assert_allclose(logits, cnn.forward(x_test), atol=1e-4)

# %% [markdown]
# ### What it knows about neighbors
#
# Shuffle the pixels of all images in the same way. A dense layer does not notice: it has no idea which pixels are
# neighbors. A convolution loses what its kernels look for. Yet on its own kind of images, the network still does
# well. The difference shows when the test images are shifted by one or two pixels:

# %%
order = np.random.default_rng(9).permutation(784)


def shuffle(x):
    return np.ascontiguousarray(x.reshape(-1, 784)[:, order].reshape(-1, 28, 28))


shuffled_cnn = train(convolutional, shuffle(x_train))
shifts = range(4)
shifted = [np.roll(x_test, pixels, axis=2) for pixels in shifts]
by_shift = {
    "convolutional": [accuracy(cnn, x) for x in shifted],
    "convolutional, pixels shuffled": [accuracy(shuffled_cnn, shuffle(x)) for x in shifted],
    "dense": [accuracy(mlp, x) for x in shifted],
}
for name, values in by_shift.items():
    print(f"{name:31}", *(f"{value:5.0%}" for value in values))
assert abs(by_shift["convolutional"][0] - by_shift["convolutional, pixels shuffled"][0]) < 0.03
assert all(by_shift["convolutional"][2] > by_shift[name][2] + 0.1 for name in list(by_shift)[1:])

# %% tags=["fold"]
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
for number, (name, values) in enumerate(by_shift.items()):
    charts.curve(axes, number, list(shifts), 100 * np.array(values), name)
charts.label_axes(axes, "shift of the test images (pixels)", "accuracy (%)")
axes.set_xticks(list(shifts))
axes.set_ylim(0, 100)
axes.legend(loc="lower left")
Image(
    charts.png(chart),
    alt="Accuracy by shift: the convolutional network loses least; without neighbors it falls like the dense one",
)

# %% [markdown]
# The convolution of a shifted image is the shifted convolution, and pooling absorbs part of a small shift. The accuracy on
# centered digits shows little of this, and with 360 of them, a few points may be chance.

# %% tags=["page"]
kernels = Conv2d(1, 2, 3, dtype=np.float64)
np.testing.assert_array_equal(
    kernels.forward(np.roll(digit, 1, 3))[..., 1:], kernels.forward(digit)[..., :-1]
)

# %% [markdown]
# ### On MNIST
#
# `make train-mnist +experiment=a12` and `make train-mnist +experiment=b11` train the decks' networks on all of MNIST.
# In the recorded runs, with five seeds each:
#
# > The dense network of slide A12 makes more than twice as many mistakes as the convolutional one of slide B11.

# %% tags=["fold"]
recorded = json.loads((Path(shared.__file__).parents[1] / "docs/results/experiments.json").read_text())
mistakes = {}
rows = ["| slide | network | accuracy on MNIST | mistakes in 10,000 |", "| --- | --- | --- | --- |"]
for name, kind in (("a12", "dense"), ("b11", "convolutional")):
    scores = np.array([run["test_accuracy"] for run in recorded if run["experiment"] == name])
    mistakes[name] = 10_000 * (1 - scores.mean())
    assert len(scores) == 5
    rows.append(f"| {name.upper()} | {kind} | {scores.mean():.1%} | {mistakes[name]:.0f} |")
assert mistakes["a12"] > 2.5 * mistakes["b11"]
Markdown("\n".join(rows))

# %% [markdown]
# [docs/decks.md](../docs/decks.md) has these runs with their standard deviations.

# %% [markdown]
# ## What the decks get wrong
#
# ### Padding that is counted but not applied
#
# Slide C9 counts the padding in the size of the output, but does not pad the image.
#
# > With an image of 4 x 4 and a kernel of 3 x 3, the windows at the end are too small: ValueError. With a stride of 2,
# > there may be no error, only wrong numbers.


# %%
def published(x, W, stride, padding):
    """The size counts the padding; the windows are those of the image without it."""
    k, size = len(W), output_size(len(x), len(W), stride, padding)
    y = np.zeros((size, size))
    for r, c in np.ndindex(size, size):
        y[r, c] = (x[r * stride : r * stride + k, c * stride : c * stride + k] * W).sum()
    return y


try:
    published(np.arange(16.0).reshape(4, 4), np.ones((3, 3)), stride=1, padding=1)
except ValueError as error:
    print(type(error).__name__)
nine = np.arange(1.0, 10).reshape(3, 3)
wrong = published(nine, np.ones((2, 2)), stride=2, padding=1)
layer = Conv2d(1, 1, 2, stride=2, padding=1, bias=False, dtype=np.float64)
layer.params["weight"][...] = 1
right = layer.forward(nine[None, None])[0, 0]
print("published", wrong.ravel(), "right", right.ravel())
assert wrong.ravel().tolist() == [12, 18, 30, 36]
assert right.ravel().tolist() == [1, 5, 11, 28]

# %% [markdown]
# ### Channels that nobody checks
#
# Slide C9 does not compare the channels of the image with those of the kernel.
#
# > A kernel with one channel is multiplied by all three channels of a window, because NumPy repeats it. No error.
#
# For ones everywhere, the result is 27 instead of a message. `Conv2d` refuses such an image.

# %%
print("published:", four_loops(np.ones((1, 3, 3, 3)), np.ones((1, 1, 3, 3))).item())
assert four_loops(np.ones((1, 3, 3, 3)), np.ones((1, 1, 3, 3))).item() == 27
try:
    Conv2d(1, 1, 3, dtype=np.float64).forward(np.ones((1, 3, 3, 3)))
except ValueError as error:
    print(error)

# %% [markdown]
# ### A dense network that is called convolutional
#
# Slide A12 announces a convolutional network, and builds three dense layers.
#
# > If the columns of its first matrix are shuffled like the pixels, the outputs are the same. So the arrangement of
# > the pixels means nothing to it.

# %%
state = mlp.state_dict()
state["fc1.weight"] = state["fc1.weight"][:, order]
twin = numpy_model.build_model(dense, np.float32, np.random.default_rng(0)).eval()
twin.load_state_dict(state)
change = abs(twin.forward(shuffle(x_test)) - mlp.forward(x_test)).max()
print(f"shuffled weights on shuffled pixels change the logits by less than 1e-4: {change < 1e-4}")
assert change < 1e-4

# %% [markdown]
# The slide sets no seed either, so every run gives another accuracy; its unused import and its deprecated
# `input_shape` are harmless.
#
# ### A network that stays in training mode
#
# Slide B11 is convolutional. It ends after training: nothing is evaluated, and dropout is still active.
#
# > Until `eval()` is called, the same image gets other logits every time.
#
# It also drops whole channels of a flat vector, where each channel is a single number, and applies a log-softmax
# that its loss applies again. Both are harmless: the second log-softmax changes nothing.

# %%
torch.manual_seed(0)
tail = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(16, 10))
vector = torch.ones(1, 16)
with torch.no_grad():
    training = abs(tail(vector) - tail(vector)).max().item()
    tail.eval()
    evaluation = abs(tail(vector) - tail(vector)).max().item()
    once = torch.log_softmax(tail(vector), dim=1)
print(f"two runs differ by {training:.2f} in training mode, by {evaluation} after eval()")
assert training > 0.1 > evaluation == 0
np.testing.assert_allclose(torch.log_softmax(once, dim=1), once, atol=1e-6)

# %% [markdown]
# The [errata](../docs/errata.md) have all of these with their tests.

# %% [markdown]
# ## Exercises
#
# The solutions are in [solutions/lesson_09.py](solutions/lesson_09.py).
#
# > **1. Write a backward pass.** This layer averages blocks of $2 \times 2$. Each pixel belongs to one block.


# %%
class MyAverage:
    def forward(self, x):
        n, channels, height, width = x.shape
        return x.reshape(n, channels, height // 2, 2, width // 2, 2).mean(axis=(3, 5))

    def backward(self, dy):
        """Return dx, which has twice the rows and columns of dy."""
        ...


print(check(MyAverage(), np.random.default_rng(0).normal(size=(2, 1, 4, 4))))

# %% [markdown]
# > **2. Predict two numbers.** An image has $28 \times 28$ pixels and 3 channels. A convolution has 16 kernels of
# > $5 \times 5$, a stride of 2 and a padding of 2. How many rows does its output have, and how many
# > parameters does the layer have?

# %%
prediction = {"rows": None, "parameters": None}  # your numbers
layer = Conv2d(3, 16, 5, stride=2, padding=2)
rows = layer.forward(np.zeros((1, 3, 28, 28), np.float32)).shape[2]
measured = {"rows": rows, "parameters": sum(w.size for w in layer.params.values())}
for name, value in prediction.items():
    print(f"{name}:", "not answered yet" if value is None else f"off by {abs(value - measured[name])}")

# %% [markdown]
# > **3. Find the mistake.** The gradient of the kernel is right, that of the image is not. Which pixels are wrong?


# %%
class Overlap:
    def __init__(self):
        self.W = np.array([[0.5, -1.0], [2.0, 1.5]])

    def forward(self, x):
        self.x = x
        return sum(self.W[i, j] * x[:, i : i + 2, j : j + 2] for i in range(2) for j in range(2))

    def backward(self, dy):
        self.dW, dx = np.zeros_like(self.W), np.zeros_like(self.x)
        for i, j in np.ndindex(2, 2):
            self.dW[i, j] = (dy * self.x[:, i : i + 2, j : j + 2]).sum()
            dx[:, i : i + 2, j : j + 2] = dy * self.W[i, j]
        return dx


result = check(Overlap(), np.random.default_rng(0).normal(size=(2, 3, 3)))
print(result)
assert not result.ok

# %% [markdown]
# ## What to remember
#
# - A convolution uses the same few weights at every place of an image.
# - Written as a matrix of windows, it is a linear layer; on the way back, overlapping windows add up.
# - The size of the output is $\lfloor (n + 2p - k) / s \rfloor + 1$.
# - Max pooling sends the gradient to the winner; average pooling shares it.
# - Check the channels: NumPy repeats an axis of size 1 without a message.
#
# In the browser: after `make train-mnist model=fast_cnn`, `make explore run=latest` writes
# [a page](../docs/usage.md#explore-a-network) that computes your network forward and backward. Append
# `#mode=backward&target=3&select=conv1.weight:0` to its address to see the chain rule for a weight of a
# convolution.
