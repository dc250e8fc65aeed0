# %% [markdown]
# # 10. Sequences
#
# > A recurrent network reads one word after the other with the same weights. What it has read so far is its state.
#
# This lesson computes a recurrent cell forward and backward by hand, shows why its gradient fades and what an LSTM
# does about it, and trains both on generated film reviews in which only the word order tells positive from negative.
# You need [lesson 4](04_backward_by_hand.ipynb). Reading takes about twenty minutes.

# %% tags=["page"]
import numpy as np
from IPython.display import Image, Markdown
from threadpoolctl import threadpool_limits

from apps.imdb_rnn.config import Bow, Lstm, Rnn
from apps.imdb_rnn.numpy_model import build_model
from shared import charts
from shared.backprop import LSTM, RNN, Adam, BCEWithLogitsLoss, clip_grad_norm_
from shared.data import reviews
from shared.data.sequences import Sequences, batches_by_length
from shared.data.text import Settings, encode
from tools.check import check

limits = threadpool_limits(1)  # the same sums, and the same numbers, on any number of cores

# %% [markdown]
# ## A state that is carried along
#
# A dense layer expects a fixed number of inputs, but texts have any length. A **recurrent** layer has one cell that
# it uses at every step $t$. The cell combines the input $x_t$ with the state $h_{t-1}$ that the previous step has
# left:
#
# $$z_t = W x_t + U h_{t-1} + b \qquad h_t = \tanh(z_t) \qquad h_0 = 0$$
#
# $W$ has a column for each input, $U$ a column for each number of the state. Neither has an index $t$: the weights
# are the same at every step, so their number does not depend on the length of the text.
#
# Here is a cell with two inputs and two units, which reads three steps:

# %%
x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # a row per step
W = np.array([[0.5, -0.3], [0.2, 0.4]])
U = np.array([[0.6, 0.1], [-0.2, 0.7]])
b = np.array([0.1, 0.0])

h = [np.zeros(2)]  # h[t] is the state after step t
for x_t in x:
    h.append(np.tanh(W @ x_t + U @ h[-1] + b))
for t, state in enumerate(h):
    print(f"h{t} = {state.round(4)}")
np.testing.assert_allclose(h[3], [0.4013, 0.6942], atol=5e-5)

# %% [markdown]
# Unrolled over time, this is a deep network. It has a layer for each step, all layers have the same weights, and
# each gets an input of its own.

# %% tags=["fold"]
chart = charts.figure(size=(12, 3.9))
axes = chart.subplots()
box = {"boxstyle": "round,pad=0.55", "fc": "white", "ec": charts.BLACK, "lw": 2}
forward = {"arrowstyle": "->", "color": charts.BLUE, "lw": 2}
back = {"arrowstyle": "->", "color": charts.VERMILLION, "lw": 2}
for t in range(4):
    axes.text(3 * t, 0, f"$h_{t}$", bbox=box, fontsize=18, **charts.CENTERED)
    if t:
        axes.annotate("", (3 * t - 0.5, 0.13), (3 * t - 2.5, 0.13), arrowprops=forward)
        axes.annotate("", (3 * t - 2.5, -0.13), (3 * t - 0.5, -0.13), arrowprops=back)
        axes.text(3 * t - 1.5, 0.33, "U", color=charts.BLUE, fontsize=16, **charts.CENTERED)
        axes.text(3 * t - 1.5, -0.35, "times U", color=charts.VERMILLION, fontsize=13, **charts.CENTERED)
        axes.text(3 * t, -1.35, f"$x_{t}$", bbox=box, fontsize=18, **charts.CENTERED)
        axes.annotate("", (3 * t - 0.1, -0.35), (3 * t - 0.1, -1.05), arrowprops=forward)
        axes.annotate("", (3 * t + 0.1, -1.05), (3 * t + 0.1, -0.35), arrowprops=back)
        axes.text(3 * t - 0.35, -0.75, "W", color=charts.BLUE, fontsize=16, **charts.CENTERED)
axes.text(9.9, 0.13, "forward: states", color=charts.BLUE, fontsize=14, va="center")
axes.text(9.9, -0.2, "backward: gradients", color=charts.VERMILLION, fontsize=14, va="center")
axes.set(xlim=(-0.8, 12.6), ylim=(-1.75, 0.6))
axes.axis("off")
Image(
    charts.png(chart), alt="The states h0 to h3 in a row; U leads from each to the next, W from each input up"
)

# %% [markdown]
# ## Back through time
#
# The backward pass is that of a deep network, from the last step to the first. The state $h_t$ has two paths to the
# loss: what is read from it directly, $\mathit{dy}_t$, and the next step. Where paths meet, add:
#
# $$\mathit{dh}_t = \mathit{dy}_t + U^\top \mathit{dz}_{t+1} \qquad \mathit{dz}_t = \mathit{dh}_t \, (1 - h_t^2)$$
#
# The weights are used at every step, so their gradients are sums over the steps:
#
# $$\mathit{dW} = \sum_t \mathit{dz}_t \, x_t^\top \qquad \mathit{dU} = \sum_t \mathit{dz}_t \, h_{t-1}^\top \qquad
# \mathit{db} = \sum_t \mathit{dz}_t$$
#
# > Weights that are shared over time get the sum of the gradients of all steps.
#
# As the loss, take the first number of the last state: $\mathit{dy}_3 = (1, 0)$, and 0 at the other steps.

# %% tab="by hand"
dW, dU, db = np.zeros_like(W), np.zeros_like(U), np.zeros_like(b)
dx, dh = np.zeros_like(x), np.array([1.0, 0.0])
for t in (3, 2, 1):
    dz = dh * (1 - h[t] ** 2)
    dW += np.outer(dz, x[t - 1])
    dU += np.outer(dz, h[t - 1])
    db += dz
    dx[t - 1] = W.T @ dz
    dh = U.T @ dz
by_hand = {"h3": h[3], "dW": dW, "dU": dU, "db": db, "dx": dx}

layer = RNN(2, 2, dtype=np.float64)  # has two biases, as in torch
zeros = np.zeros(2)
state = {"weight_ih_l0": W, "weight_hh_l0": U, "bias_ih_l0": b, "bias_hh_l0": zeros}
layer.load_state_dict(state)
output, _ = layer.forward(x[:, None])  # (steps, examples, inputs)
dy = np.zeros_like(output)
dy[2, 0] = [1, 0]
np.testing.assert_allclose(layer.backward(dy)[:, 0], dx)
np.testing.assert_allclose(layer.grads["weight_hh_l0"], dU)
print("dU =", dU.round(4).tolist(), "as in RNN")

# %% tab="PyTorch"
import torch

recurrent = torch.nn.RNN(2, 2, dtype=torch.float64)
recurrent.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
inputs = torch.tensor(x, requires_grad=True)
states, last = recurrent(inputs)
states[2, 0].backward()
slopes = [recurrent.weight_ih_l0.grad, recurrent.weight_hh_l0.grad, recurrent.bias_ih_l0.grad, inputs.grad]
by_torch = dict(zip(by_hand, [states[2].detach().numpy(), *(slope.numpy() for slope in slopes)]))
print("dU =", by_torch["dU"].round(4).tolist())

# %% tab="Keras"
import shared.training.keras_quiet  # without TensorFlow's notes on the screen
import keras
import tensorflow as tf

recurrent = keras.layers.SimpleRNN(2, dtype="float64")
recurrent.build((None, 3, 2))
recurrent.set_weights([W.T, U.T, b])  # a column for each unit
inputs = tf.constant(x[None])  # (examples, steps, inputs)
with tf.GradientTape() as tape:
    tape.watch(inputs)
    last = recurrent(inputs)
    loss = last[0, 0]
dW_, dU_, db_, dx_ = tape.gradient(loss, [*recurrent.trainable_variables, inputs])
by_keras = dict(zip(by_hand, [last.numpy()[0], dW_.numpy().T, dU_.numpy().T, db_.numpy(), dx_.numpy()[0]]))
print("dU =", by_keras["dU"].round(4).tolist())


# %% tags=["fold"]
def cell(value):
    return ", ".join(f"{number:.5f}" for number in np.ravel(value)).replace("-", "−")


rows = ["| quantity | by hand | PyTorch | Keras |", "| --- | --- | --- | --- |"]
for name, value in by_hand.items():
    rows.append(f"| `{name}` | {cell(value)} | {cell(by_torch[name])} | {cell(by_keras[name])} |")
    np.testing.assert_allclose(by_torch[name], value, rtol=1e-10)
    np.testing.assert_allclose(by_keras[name], value, rtol=1e-10)
Markdown("\n".join(rows))

# %% [markdown]
# In this repository, `_Recurrent.backward` is this loop, for many examples at once, and an `RNN` adds one line to it
# ([recurrent.py](../shared/backprop/recurrent.py)).

# %% [markdown]
# ## How far a gradient reaches
#
# Look at the last row: the gradient of the first input is smaller than that of the last one. On its way back,
# the gradient is multiplied by $U$ and by $1 - h^2 \le 1$ at each step:
#
# $$\mathit{dh}_{t-1} = U^\top \bigl( (1 - h_t^2) \, \mathit{dh}_t \bigr)$$
#
# > After $k$ steps there are $k$ such factors. Usually their product vanishes or explodes.
#
# What is far back can then hardly be learned: the loss says almost nothing about it.


# %%
def reach(layer, steps=40):
    """Return the gradient's norm at each input, by distance from the last one, whose norm is 1."""
    rng = np.random.default_rng(0)
    output, _ = layer.forward(rng.normal(size=(steps, 1, 8)))
    dy = np.zeros_like(output)
    dy[-1] = rng.normal(size=dy[-1].shape)
    norms = np.linalg.norm(layer.backward(dy)[:, 0], axis=1)[::-1]
    return norms / norms[0]


options = {"dtype": np.float64, "rng": np.random.default_rng(0)}
plain = reach(RNN(8, 32, **options))
print(f"RNN: {plain[5]:.2g} after 5 steps, {plain[20]:.1g} after 20 steps")
assert abs(dx[0]).max() < abs(dx[2]).max()
assert plain[5] < 0.05
assert plain[20] < 1e-6

# %% [markdown]
# ## The LSTM
#
# An LSTM (long short-term memory) has a second state, the memory $c_t$, which is not multiplied by a matrix. Three
# **gates** with values from 0 to 1 say what happens to it: the forget gate $f$ how much of the old content stays,
# the input gate $i$ how much of the new content $g$ enters, the output gate $o$ how much is shown.
#
# $$c_t = f_t \, c_{t-1} + i_t \, g_t \qquad h_t = o_t \tanh(c_t)$$
#
# Each of the four is a small layer of its own that reads $x_t$ and $h_{t-1}$: $i$, $f$ and $o$ with a sigmoid, $g$
# with a tanh. So an LSTM has four times as many weights as a plain RNN with the same sizes.

# %% tab="by hand"
rng = np.random.default_rng(3)
Wx, Wh, bias = rng.normal(size=(8, 2)), rng.normal(size=(8, 2)), rng.normal(size=8)  # the rows of i, f, g, o


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


h, c = np.zeros(2), np.zeros(2)
for x_t in x:
    i, f, g, o = np.split(Wx @ x_t + Wh @ h + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)

memory = LSTM(2, 2, dtype=np.float64)
state = {"weight_ih_l0": Wx, "weight_hh_l0": Wh, "bias_ih_l0": bias, "bias_hh_l0": np.zeros(8)}
memory.load_state_dict(state)
_, (h_n, c_n) = memory.forward(x[:, None])
print(f"h = {h.round(4)}, c = {c.round(4)}, as in LSTM")
np.testing.assert_allclose([h_n[0, 0], c_n[0, 0]], [h, c])

# %% tab="PyTorch"
recurrent = torch.nn.LSTM(2, 2, dtype=torch.float64)
recurrent.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
_, (h_torch, c_torch) = recurrent(torch.tensor(x))
print(f"h = {h_torch[0].detach().numpy().round(4)}, c = {c_torch[0].detach().numpy().round(4)}")
np.testing.assert_allclose(h_torch.detach().numpy()[0], h)

# %% tab="Keras"
recurrent = keras.layers.LSTM(2, return_state=True, dtype="float64")
recurrent.build((None, 3, 2))
recurrent.set_weights([Wx.T, Wh.T, bias])  # i, f, g and o in the same order
_, h_keras, c_keras = recurrent(x[None])
print(f"h = {np.array(h_keras)[0].round(4)}, c = {np.array(c_keras)[0].round(4)}")
np.testing.assert_allclose(np.array(h_keras)[0], h)

# %% [markdown]
# ### A path without a matrix
#
# The point of all this is the way back. Along the memory, the gradient is only multiplied by the forget gate:
#
# $$\mathit{dc}_{t-1} = f_t \, \mathit{dc}_t$$
#
# > While the forget gate is near 1, the gradient passes a step almost unchanged.
#
# It is not near 1 by itself. With usual initial weights it is near 0.5, and the gradient fades by half at each step.
# With a bias of 4 it starts near 0.98. (Keras starts with a bias of 1, PyTorch with a bias near 0.)

# %%
usual, opened = LSTM(8, 32, **options), LSTM(8, 32, **options)
opened.params["bias_ih_l0"][32:64] = 4  # the rows of the forget gate
half, open_gate = reach(usual), reach(opened)
print(f"gate at a bias of 0: {sigmoid(0.0)}, of 4: {sigmoid(4.0):.2f}")
print(f"after 20 steps: usual weights {half[20]:.1g}, open gate {open_gate[20]:.2f}")
assert sigmoid(0.0) == 0.5
assert abs(sigmoid(4.0) - 0.98) < 0.005
assert half[20] < 1e-3
assert open_gate[1:].min() > 0.2

# %% tags=["fold"]
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
shown = {
    "LSTM, forget bias 4": open_gate,
    "LSTM, usual initial weights": half,
    "RNN, usual initial weights": plain,
}
for number, (name, norms) in enumerate(shown.items()):
    charts.curve(axes, number, np.arange(40), norms, name)
charts.label_axes(axes, "steps back from the last word", "gradient (last word: 1)")
charts.log_scale(axes)
axes.legend(loc="lower left")
Image(
    charts.png(chart),
    alt="Gradient by distance: the RNN's and the usual LSTM's fade, that of the LSTM with an open gate stays",
)

# %% [markdown]
# ## Padding and masks
#
# A batch is an array, so all its texts must have the same length. Shorter ones are **padded** with a token that
# means nothing. But a recurrent layer does not know that. It goes on reading, and its state changes with every step
# of padding. A mask, or the lengths of the texts, says where each one ends:
#
# $$h_t = m_t \tanh(z_t) + (1 - m_t) \, h_{t-1} \qquad m_t = [t \le \text{length}]$$
#
# After the end, the state is carried along unchanged. On the way back, so is its gradient, and the padding gets none.
#
# Here are two texts with 3 and 5 steps. The last state of the short one must be the same as alone.

# %% tab="by hand"
texts = np.random.default_rng(4).normal(size=(5, 2, 2))  # (steps, texts, inputs)
texts[3:, 0] = 0
lengths = np.array([3, 5])

_, alone = layer.forward(texts[:3, :1])
_, unmasked = layer.forward(texts)
output, masked = layer.forward(texts, lengths=lengths)
dx = layer.backward(np.zeros_like(output), np.ones_like(masked))
print("alone:   ", alone[0, 0].round(4))
print("no mask: ", unmasked[0, 0].round(4))
print("lengths: ", masked[0, 0].round(4), "; gradient of the padding:", dx[3:, 0].ravel())
np.testing.assert_array_equal(masked[0, 0], alone[0, 0])
assert abs(unmasked[0, 0] - alone[0, 0]).max() > 0.1
assert (dx[3:, 0] == 0).all()

# %% tab="PyTorch"
from torch.nn.utils.rnn import pack_padded_sequence

recurrent = torch.nn.RNN(2, 2, dtype=torch.float64)
recurrent.load_state_dict({name: torch.tensor(value) for name, value in layer.state_dict().items()})
packed = pack_padded_sequence(torch.tensor(texts), torch.tensor(lengths), enforce_sorted=False)
_, last = recurrent(packed)
print("packed:", last[0, 0].detach().numpy().round(4))
np.testing.assert_allclose(last[0].detach().numpy(), masked[0])

# %% tab="Keras"
recurrent = keras.layers.SimpleRNN(2, dtype="float64")
recurrent.build((None, 5, 2))
recurrent.set_weights([W.T, U.T, b])
mask = np.arange(5) < lengths[:, None]  # (texts, steps)
last = recurrent(texts.swapaxes(0, 1), mask=mask)
print("mask:", np.array(last)[0].round(4))
np.testing.assert_allclose(np.array(last), masked[0])

# %% [markdown]
# ## Film reviews
#
# Without the 50,000 real reviews of IMDB, `make train-imdb` trains on generated ones
# ([reviews.py](../shared/data/reviews.py)). Each has two opposite judgments, and the phrase before each says which
# one counts. Positive and negative reviews contain the same words equally often.

# %%
drawn = np.random.default_rng(0)
(train_texts, train_labels), (test_texts, test_labels) = (reviews.generate(n, drawn) for n in (4000, 1000))
train, test, vocabulary = encode((train_texts, test_texts), (train_labels, test_labels), Settings(1000, 1))
read, unseen = Sequences(train, longest=100), Sequences(test, longest=100)
for text, label in zip(train_texts[:3], train_labels):
    print(reviews.CLASSES[label], "|", text)
assert (train.lengths.min(), train.lengths.max()) == (30, 49)

# %% [markdown]
# A network turns each word into a vector (an embedding), reads the vectors, and ends with one neuron, whose output is
# a logit:
#
# $$z = w \cdot \text{readout}(h_1, \dots, h_T) + b$$
#
# The **readout** may be the last state. Or it is the maximum of each unit over time, which needs the mask, too:
# padding must never have the maximum. Here are the networks of `apps/imdb_rnn`, made small, and the baseline, which
# is the mean of all embeddings, a **bag of words**.


# %%
def fit(config, epochs=5):
    """Return the network, the loss of every step and the accuracy on unseen reviews."""
    network = build_model(config, np.float32, np.random.default_rng(0), len(vocabulary))
    loss, optimizer, losses = BCEWithLogitsLoss(), Adam(network.params, lr=0.01), []
    for epoch in range(epochs):
        for batch in batches_by_length(read.lengths, 50, seed=0, epoch=epoch):
            target = train.labels[batch][:, None].astype(np.float32)
            losses.append(loss.forward(network.forward(read[batch]), target))
            network.backward(loss.backward())
            clip_grad_norm_(network.grads, 1.0)
            optimizer.step(network.grads)
    right = (network.forward(unseen[:])[:, 0] > 0) == test.labels
    return network, np.array(losses), right.mean()


sizes = {"embedding": 16, "dropout": 0}
recurrent = sizes | {"hidden": 24, "embedding_std": 1.0}
fitted = {
    "bag of words": fit(Bow(name="bow", buckets=1000, **sizes)),
    "LSTM, last state": fit(Lstm(name="lstm", readout="last", **recurrent)),
    "RNN, maximum": fit(Rnn(name="rnn", readout="max", **recurrent)),
    "LSTM, maximum": fit(Lstm(name="lstm", readout="max", **recurrent)),
}
for name, (_, losses, accuracy) in fitted.items():
    print(f"{name:16} loss {losses[-80:].mean():.4f}, accuracy {accuracy:.1%}")
accuracies = {name: accuracy for name, (_, _, accuracy) in fitted.items()}
assert 0.45 < accuracies["bag of words"] < 0.55
assert 0.45 < accuracies["LSTM, last state"] < 0.55
assert min(accuracies["RNN, maximum"], accuracies["LSTM, maximum"]) > 0.99

# %% [markdown]
# The bag of words can only guess, by construction. Both readers with the maximum learn the task completely: the
# maximum takes the state from wherever the decision was made, and its gradient gets there in one step. If only the
# last state is read, the gradient has to come back through all words that follow, and in the same five epochs the
# LSTM learns nothing.

# %% tags=["fold"]
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
for number, (name, (_, losses, _)) in enumerate(fitted.items()):
    smooth = np.convolve(losses, np.full(20, 1 / 20), mode="valid")
    charts.curve(axes, number, np.arange(20, 401), smooth, name)
charts.label_axes(axes, "step", "cross-entropy, mean of 20 steps")
axes.legend()
Image(
    charts.png(chart), alt="Bag of words and last state stay at 0.69; LSTM and RNN with the maximum fall to 0"
)

# %% [markdown]
# The network can be asked after every word. In both reviews the logit jumps at the first judgment. There the network
# already knows from the phrase before it whether this judgment counts: *wonderful* in a trailer means a bad film.

# %% tags=["fold"]
network = fitted["LSTM, maximum"][0]
pictures = []
for number in (1, 2):
    ids = unseen[np.array([number])]
    logits = np.array([network.forward(ids[:, :end])[0, 0] for end in range(1, ids.shape[1] + 1)])
    judged = [vocabulary[word] for word in ids[0]]
    first = next(place for place, word in enumerate(judged) if word in reviews.GOOD + reviews.BAD)
    assert np.argmax(abs(np.diff(logits))) == first - 1
    pictures.append(charts.ColoredText(judged, logits, reviews.CLASSES[test.labels[number]]))
Image(
    charts.word_colors(pictures, "", "logit after this word; negative: a bad film", signed=True),
    alt="Two reviews: the color changes at the first judgment, and stays to the end",
)

# %% [markdown]
# On real reviews, the bag of words beats the recurrent networks. Many of their words tell the class, whatever their
# order. The [recorded results](../apps/imdb_rnn/README.md#results) compare all networks on IMDB.

# %% [markdown]
# ## What the decks get wrong
#
# ### Normal weights in a cell
#
# Slide C12 defines one cell in torch, and draws all its weights from a standard normal distribution.
#
# > The larger the state, the larger the sums. With 64 units, 20 steps make a gradient more than ten thousand times as
# > large; with 256 units, more than a hundred million times.


# %%
def growth(units, normal):
    """Return the factor by which 20 steps scale a gradient, and the largest state."""
    rng = np.random.default_rng(0)
    layer = RNN(units, units, dtype=np.float64, rng=rng)
    if normal:
        for value in layer.params.values():
            value[...] = rng.normal(size=value.shape)
    output, _ = layer.forward(np.zeros((20, 1, units)))
    last = rng.normal(size=(1, 1, units))
    layer.backward(np.zeros_like(output), last)
    return np.linalg.norm(layer.dhx) / np.linalg.norm(last), abs(output).max()


for units in (16, 64, 256):
    factor, largest = growth(units, normal=True)
    bounded = growth(units, normal=False)[0]
    print(f"{units} units: normal {factor:.0e}, usual range {bounded:.0e}; largest state {largest:.2f}")
    assert largest <= 1
    assert bounded < 0.01
assert growth(64, True)[0] > 1e4
assert growth(256, True)[0] > 1e8

# %% [markdown]
# The state itself does not explode: a tanh keeps it within 1. With the usual range, $\pm 1 / \sqrt{\text{units}}$, the
# gradient shrinks to less than 0.01 instead. The slide also leaves out the loop over the steps. `RnnCell` in
# [torch_model.py](../apps/imdb_rnn/torch_model.py) has both, and `make train-imdb model=rnn_cell` trains it.
#
# ### Zeros that are read as words
#
# Slide A13 pads all reviews at the front to 200 words with zeros, and has no mask.
#
# > The zeros are read like any other word. Padding 10 words to 50 moves the last state of an untrained network by 0.39
# > of its length.

# %%
moved = []
for mask in (False, True):
    keras.utils.set_random_seed(0)
    reader = keras.Sequential([keras.layers.Embedding(50, 8, mask_zero=mask), keras.layers.LSTM(8)])
    short, long = (
        np.array(reader(keras.utils.pad_sequences([range(1, 11)], maxlen=length))) for length in (10, 50)
    )
    moved.append(np.linalg.norm(long - short) / np.linalg.norm(short))
print(f"without a mask {moved[0]:.2f}, with mask_zero=True {moved[1]:.2f}")
assert abs(moved[0] - 0.39) < 0.01
assert moved[1] == 0

# %% [markdown]
# A trained network may learn to ignore the padding, but it has to learn it.
#
# ### An LSTM that is called a simple RNN
#
# The network of slide A13 is announced as a simple RNN. It has an LSTM with 64 units that reads embeddings of 128
# numbers.
#
# > An LSTM has four times as many weights as a simple RNN, here 49,408 instead of 12,352, and another gradient.
#
# Its arguments `dropout` and `recurrent_dropout` are not explained: the first drops inputs of each step, the second
# the previous state. `recurrent_dropout` has no effect on a review of one word, and with it, Keras cannot use the fused
# kernel of a GPU.

# %%
counts = []
for kind in (keras.layers.SimpleRNN, keras.layers.LSTM):
    counted = kind(64)
    counted.build((None, 200, 128))
    counts.append(counted.count_params())
print("simple RNN:", counts[0], " LSTM:", counts[1])
assert counts == [64 * (128 + 64 + 1), 4 * 64 * (128 + 64 + 1)] == [12_352, 49_408]

for options in ({"dropout": 0.9}, {"recurrent_dropout": 0.9}):
    dropped = keras.layers.LSTM(4, **options)
    outputs = {np.array(dropped(np.ones((1, 1, 3)), training=True)).tobytes() for _ in range(9)}
    print(options, "different outputs for one word:", len(outputs) > 1)
    assert (len(outputs) > 1) == ("dropout" in options)

# %% [markdown]
# ### Sorted reviews
#
# Slide B12 reads the reviews in the order of the data set, which is sorted by label, and prints the loss of the last
# one.
#
# > After an epoch that ends with 12,500 positive reviews, a single bias predicts "positive" for everything, with a
# > probability of 0.975, and the printed loss is 0.025. The mean loss is 1.86, and that of guessing is 0.6931.


# %%
def train_a_bias(labels):
    """Learn one logit from labels only; return its probability, the last loss and the mean loss."""
    params, last = {"b": np.zeros(1)}, 0.0
    optimizer = Adam(params, lr=0.001)
    for label in labels:
        last = np.logaddexp(0, params["b"][0]) - params["b"][0] * label
        optimizer.step({"b": sigmoid(params["b"]) - label})
    b = params["b"][0]
    return sigmoid(b), last, np.mean(np.logaddexp(0, b) - b * labels)


labels = np.repeat([0.0, 1.0], 12_500)
by_label, shuffled = train_a_bias(labels), train_a_bias(np.random.default_rng(0).permutation(labels))
print("sorted:   probability {:.3f}, last loss {:.3f}, mean loss {:.2f}".format(*by_label))
print("shuffled: probability {:.3f}, last loss {:.3f}, mean loss {:.4f}".format(*shuffled))
np.testing.assert_allclose(by_label, [0.975, 0.025, 1.86], rtol=0.02)
assert abs(shuffled[2] - 0.6931) < 0.005

# %% [markdown]
# Shuffle, and print the mean loss. The slide also takes one review per step, 25,000 steps per epoch, because it cannot
# pad. In batches of 64 with lengths there are 391, for the same gradients:

# %%
batch = np.random.default_rng(5).normal(size=(6, 64, 2))
lengths = np.random.default_rng(6).integers(1, 7, 64)
_, last = layer.forward(batch, lengths=lengths)
layer.backward(np.zeros((6, 64, 2)), np.ones_like(last) / 64)
together = layer.grads["weight_hh_l0"].copy()
one_by_one = np.zeros((2, 2))
for number, length in enumerate(lengths):
    _, last = layer.forward(batch[:length, number : number + 1])
    layer.backward(np.zeros((length, 1, 2)), np.ones_like(last) / 64)
    one_by_one += layer.grads["weight_hh_l0"]
np.testing.assert_allclose(together, one_by_one, rtol=1e-10)
print(f"steps per epoch: 25,000, or {-(-25_000 // 64)} with batches of 64")
assert -(-25_000 // 64) == 391

# %% [markdown]
# What its labels of 1 and 2 do is in [lesson 3](03_losses.ipynb). Its calls of torchtext fail with the last version
# that loads with a current torch. Its network is never evaluated. The [errata](../docs/errata.md) have all of these
# with their tests. You can run both programs: `make train-imdb +experiment=a13` and `+experiment=b12`.

# %% [markdown]
# ## Exercises
#
# The solutions are in [solutions/lesson_10.py](solutions/lesson_10.py).
#
# > **1. Predict a number.** How many weights and biases does `LSTM(16, 24)` of this repository have? It reads 16
# > inputs, has 24 units and, as in torch, two biases. Then let the code count.

# %%
prediction = None  # your number
count = sum(value.size for value in LSTM(16, 24).params.values())
print("not answered yet" if prediction is None else f"right: {prediction == count}")

# %% [markdown]
# > **2. Write a backward pass.** Fill in the loop for a cell without a bias, of which only the last state is read.
# > The weights are used at every step: do not overwrite their gradients, add to them.


# %%
class MyRecurrent:
    def __init__(self):
        rng = np.random.default_rng(1)
        self.W, self.U = rng.normal(size=(3, 2)) / 2, rng.normal(size=(3, 3)) / 2

    def forward(self, x):
        """Return the last state (N, 3), given x (steps, N, 2)."""
        self.x, self.h = x, [np.zeros((x.shape[1], 3))]
        for x_t in x:
            self.h.append(np.tanh(x_t @ self.W.T + self.h[-1] @ self.U.T))
        return self.h[-1]

    def backward(self, dy):
        """Set self.dW and self.dU; return dx."""
        ...


print(check(MyRecurrent(), np.random.default_rng(0).normal(size=(4, 5, 2))))

# %% [markdown]
# > **3. Find the mistake.** This readout is the mean of all states, and a mask excludes the padding. But the same
# > review gets another number if it is padded to more steps. Why?


# %%
def mean_state(states, lengths):
    """Return the mean (N, H) of states (steps, N, H)."""
    mask = np.arange(len(states))[:, None] < lengths
    return (states * mask[:, :, None]).mean(axis=0)


three = np.ones((3, 1, 2))
padded = np.concatenate([three, np.zeros((2, 1, 2))])
print(mean_state(three, np.array([3])), "and padded", mean_state(padded, np.array([3])))
assert not np.allclose(mean_state(three, np.array([3])), mean_state(padded, np.array([3])))

# %% [markdown]
# ## What to remember
#
# - A recurrent layer is a deep network over time, whose layers share their weights.
# - The gradient of a shared weight is the sum over all steps.
# - A product of many factors vanishes or explodes; the LSTM's memory has a path without a matrix.
# - Padding needs a mask or lengths: in the layer and in the readout.
# - Compare with a bag of words, shuffle, and print the mean loss.
