# %% [markdown]
# # 12. Attention
#
# > Attention looks things up: it compares a question with many keys, and returns a mean of their values, in which the
# > best matches weigh the most.
#
# This lesson computes scaled dot-product attention forward and backward by hand, in three frameworks, masks what must
# not be seen, and trains a small network that looks values up. You need [lesson 4](04_backward_by_hand.ipynb) and the
# softmax of [lesson 3](03_losses.ipynb). Reading takes about fifteen minutes.

# %% tags=["page"]
import numpy as np
from IPython.display import Image, Markdown

from apps.attention.config import MeanPooling, SingleHead
from apps.attention.numpy_model import attention_weights, build_model
from shared import charts
from shared.backprop import Adam, CrossEntropyLoss, Linear, ScaledDotProductAttention
from shared.data import recall
from tools.check import check

# %% [markdown]
# ## A weighted mean
#
# Each item has a **key** $k_j$, which says what it is, and a **value** $v_j$, which says what it holds. A **query** $q_i$
# asks for something. Its score at a key is their dot product, which is large if both point the same way. The softmax
# turns the scores of a query into weights that sum to 1, and the output is the mean of the values with these weights:
#
# $$s_{ij} = \frac{q_i \cdot k_j}{\sqrt{E}} \qquad a_{ij} = \frac{e^{s_{ij}}}{\sum_m e^{s_{im}}} \qquad
# y_i = \sum_j a_{ij} v_j$$
#
# $E$ is the number of components of a key. Here are two queries and three items. The first query points the way of the
# first key:

# %%
q = np.array([[2.0, 0.0], [1.0, 1.0]])
k = np.array([[2.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
v = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])  # values may have another size


def softmax(scores):
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))  # cannot overflow
    return e / e.sum(axis=-1, keepdims=True)


scores = q @ k.T / np.sqrt(k.shape[1])
weights = softmax(scores)
y = weights @ v
print("weights:", *weights.round(3), sep="\n")
np.testing.assert_allclose(weights[0], [0.932, 0.055, 0.013], atol=5e-4)
np.testing.assert_allclose(weights.sum(axis=1), 1)

# %% [markdown]
# The first query gives its own key a weight of 0.932. The second one lies between the first two keys and divides its
# attention equally. The values here are unit vectors, so the outputs are the weights themselves.

# %% tags=["page"]
np.testing.assert_allclose(weights[1, 0], weights[1, 1])
np.testing.assert_allclose(y, weights)

# %% [markdown]
# ## The gradient of the softmax
#
# In a softmax every weight depends on every score, because of the common sum:
#
# $$\frac{\partial a_j}{\partial s_m} = a_j \, ([j = m] - a_m)$$
#
# A score $s_m$ therefore has a path to the loss through each weight. Multiply along the paths and add:
#
# $$\mathit{ds}_m = \sum_j \mathit{da}_j \, a_j \, ([j = m] - a_m) = a_m \Bigl( \mathit{da}_m - \sum_j \mathit{da}_j \, a_j \Bigr)$$
#
# > What counts is not how good a weight is, but how much better it is than the weighted mean of all.
#
# The gradients of the scores sum to 0: what one item gains, the others lose. And where $a_m$ is near 0, its score gets
# almost no gradient.

# %%
a, da = weights[0], np.array([0.3, -0.2, 0.5])
jacobian = np.diag(a) - np.outer(a, a)
ds = a * (da - da @ a)
print("by the formula:", ds.round(5), " by the matrix:", (da @ jacobian).round(5))
np.testing.assert_allclose(ds, da @ jacobian)
assert abs(ds.sum()) < 1e-12

# %% [markdown]
# ## Forward, then backward
#
# The rest are matrix products, with the rules of lesson 4. Written for all queries at once:
#
# $$S = \frac{Q K^\top}{\sqrt{E}} \qquad A = \text{softmax}(S) \qquad Y = A V$$
#
# $$\mathit{dV} = A^\top \mathit{dY} \qquad \mathit{dA} = \mathit{dY} \, V^\top \qquad
# \mathit{dQ} = \frac{\mathit{dS} \, K}{\sqrt{E}} \qquad \mathit{dK} = \frac{\mathit{dS}^\top Q}{\sqrt{E}}$$
#
# As the loss, take the mean squared difference of $Y$ to a target.

# %% tab="by hand"
target = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])

dy = 2 * (y - target) / y.size
dv = weights.T @ dy
da = dy @ v.T
ds = weights * (da - (da * weights).sum(axis=1, keepdims=True))
dq = ds @ k / np.sqrt(k.shape[1])
dk = ds.T @ q / np.sqrt(k.shape[1])
by_hand = {"y": y, "dq": dq, "dk": dk, "dv": dv}

layer = ScaledDotProductAttention()
np.testing.assert_allclose(layer.forward(q, k, v), y)
for own, gradient in zip(layer.backward(dy), (dq, dk, dv)):
    np.testing.assert_allclose(own, gradient, atol=1e-15)
print("dq =", dq.round(4).tolist(), "as in ScaledDotProductAttention")

# %% tab="PyTorch"
import torch

tensors = [torch.tensor(value, requires_grad=True) for value in (q, k, v)]
attended = torch.nn.functional.scaled_dot_product_attention(*tensors)
torch.nn.functional.mse_loss(attended, torch.tensor(target)).backward()

found = [attended.detach(), *(one.grad for one in tensors)]
by_torch = {name: value.numpy() for name, value in zip(by_hand, found)}
print("dq =", by_torch["dq"].round(4).tolist())

# %% tab="TensorFlow"
import shared.training.keras_quiet  # without TensorFlow's notes on the screen
import tensorflow as tf

tensors = [tf.constant(value) for value in (q, k, v)]
with tf.GradientTape() as tape:
    tape.watch(tensors)
    scaled = tf.matmul(tensors[0], tensors[1], transpose_b=True) / np.sqrt(k.shape[1])
    attended = tf.nn.softmax(scaled) @ tensors[2]
    loss = tf.reduce_mean((attended - target) ** 2)

found = [attended, *tape.gradient(loss, tensors)]
by_tensorflow = {name: value.numpy() for name, value in zip(by_hand, found)}
print("dq =", by_tensorflow["dq"].round(4).tolist())


# %% tags=["fold"]
def cell(value):
    return ", ".join(f"{number:.5f}" for number in np.ravel(value)).replace("-", "−")


rows = ["| quantity | by hand | PyTorch | TensorFlow |", "| --- | --- | --- | --- |"]
for name, value in by_hand.items():
    rows.append(f"| `{name}` | {cell(value)} | {cell(by_torch[name])} | {cell(by_tensorflow[name])} |")
    np.testing.assert_allclose(by_torch[name], value, atol=1e-12)
    np.testing.assert_allclose(by_tensorflow[name], value, atol=1e-12)
Markdown("\n".join(rows))

# %% [markdown]
# These are the five lines of `ScaledDotProductAttention.backward` in [attention.py](../shared/backprop/attention.py).
#
# ### Why the scores are scaled
#
# The dot product of two random vectors with $E$ independent components of mean 0 and variance 1 has a standard
# deviation of $\sqrt{E}$.
#
# > Without the division, the scores of large vectors differ so much that one weight is near 1 and the others are near 0.
# > Then hardly any gradient reaches the scores.

# %% tags=["fold"]
rng = np.random.default_rng(0)
sizes, largest = 2 ** np.arange(1, 10), {"without": [], "with": []}
for size in sizes:
    queries, keys = rng.normal(size=(200, 1, size)), rng.normal(size=(200, 16, size))
    products = (queries @ keys.swapaxes(1, 2))[:, 0]
    largest["without"].append(softmax(products).max(axis=1).mean())
    largest["with"].append(softmax(products / np.sqrt(size)).max(axis=1).mean())
assert largest["without"][-1] > 0.9
assert max(largest["with"]) < 0.5
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
charts.curve(axes, 1, sizes, largest["without"], "without scaling")
charts.curve(axes, 0, sizes, largest["with"], "divided by the root of E")
axes.set_xscale("log", base=2)
axes.set_ylim(0, 1)
charts.label_axes(axes, "components E of a key", "largest of 16 weights (mean)")
axes.legend()
Image(
    charts.png(chart), alt="Without scaling the largest weight rises to almost 1; with it, it stays below 0.5"
)

# %% [markdown]
# ## Masks
#
# Some keys must not be seen: padding, or in a language model the words that come later. A mask sets their scores to
# minus infinity **before** the softmax. Then their weights are exactly 0, and the others still sum to 1:
#
# $$s_{ij} \leftarrow -\infty \quad \text{where} \quad m_{ij} = 0$$
#
# In this repository, True lets a query attend to a key, as in torch's `scaled_dot_product_attention` and in Keras.
# `torch.nn.MultiheadAttention` means the opposite, without an error if you confuse them.

# %%
words = np.random.default_rng(1).normal(size=(4, 3))
later = np.tri(4, dtype=bool)  # word i sees the words up to i
layer.forward(words, words, words, later)
print(layer.weights.round(2))
assert (layer.weights[~later] == 0).all()
np.testing.assert_allclose(layer.weights.sum(axis=1), 1)

dq_, dk_, dv_ = layer.backward(np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]))
assert (dv_[1:] == 0).all()  # the first word sees only itself

# %% [markdown]
# ## Queries, keys and values are learned
#
# In a network, all three come from linear layers. Slide C13 has such a layer, which may have another number of outputs
# than of inputs:
#
# $$Q = X W_q^\top \qquad K = X W_k^\top \qquad V = X W_v^\top$$
#
# The scores compare projected vectors, so $E$ is the number of **outputs**, and the output of attention has the size
# of the projected values. Only queries and keys must have the same size. The items enter two layers, so their gradient
# is a sum.


# %%
class AttentionLayer:
    def __init__(self, inputs, outputs):
        rng = np.random.default_rng(0)
        self.query, self.key, self.value = (
            Linear(inputs, outputs, dtype=np.float64, rng=rng) for _ in range(3)
        )
        self.attention = ScaledDotProductAttention()

    def forward(self, queries, items):
        projected = self.query.forward(queries), self.key.forward(items), self.value.forward(items)
        return self.attention.forward(*projected)

    def backward(self, dy):
        dq, dk, dv = self.attention.backward(dy)
        return self.query.backward(dq), self.key.backward(dk) + self.value.backward(dv)


rng = np.random.default_rng(2)
wide = AttentionLayer(inputs=3, outputs=5)
print("output:", wide.forward(rng.normal(size=(2, 3)), rng.normal(size=(4, 3))).shape)
result = check(wide, rng.normal(size=(2, 3)), rng.normal(size=(4, 3)))
print(result)
assert result.ok

# %% [markdown]
# ## Looking things up
#
# Can a network learn to look up? Each example has eight pairs of a key and a value, and asks for one of the keys
# ([recall.py](../shared/data/recall.py)). The pairs are new in every example, so nothing can be memorized.
#
# The network of `apps/attention` adds the embeddings of a key and its value, attends to the pairs with the question, and
# ends with a linear layer:
#
# $$z = W \, \Bigl( x_{\text{question}} + \sum_j a_j v_j \Bigr) + b$$
#
# The baseline takes the plain mean of the values, $a_j = 1/8$.

# %%
KEYS, VALUES = 16, 4
drawn = np.random.default_rng(0)
train, test, twice = (
    recall.generate(n, KEYS, VALUES, pairs, drawn) for n, pairs in ((4000, 8), (1000, 8), (1000, 16))
)
names = ["", *(f"k{number}" for number in range(KEYS)), *(f"v{number}" for number in range(VALUES))]
print(*(names[number] for number in test.inputs[0]), "->", f"v{test.labels[0]}")


def fit(config, steps=300):
    """Return the network, the loss of every step, and the accuracies with 8 and with 16 pairs."""
    network = build_model(config, np.float32, np.random.default_rng(0), len(names), VALUES, True)
    loss, optimizer, losses = CrossEntropyLoss(), Adam(network.params, lr=0.005), []
    rng = np.random.default_rng(0)
    for _ in range(steps):
        batch = rng.choice(len(train.labels), 50, replace=False)
        losses.append(loss.forward(network.forward(train.inputs[batch]), train.labels[batch]))
        network.backward(loss.backward())
        optimizer.step(network.grads)
    right = [(network.forward(data.inputs).argmax(axis=1) == data.labels).mean() for data in (test, twice)]
    return network, losses, right


options = {"embedding": 32, "dropout": 0, "std": 0.5}
network, losses, right = fit(SingleHead(name="single_head", **options))
_, baseline, guessed = fit(MeanPooling(name="mean_pooling", **options))
print(f"attention: {right[0]:.1%} with 8 pairs, {right[1]:.1%} with 16")
print(f"mean:      {guessed[0]:.1%} with 8 pairs, {guessed[1]:.1%} with 16")
assert min(right) > 0.99
assert max(guessed) < 0.6

# %% [markdown]
# Attention answers every question, also with twice as many pairs as in training. The mean does not know which pair is
# asked for. It only learns which two of the four values occur, and guesses between them.

# %% tags=["fold"]
example = np.repeat(test.inputs[:1], 8, axis=0)
example[:, -1] = example[0, :-1:2]  # asks for each key in turn
looked = attention_weights(network, example)[:, 0]
assert (looked.argmax(axis=1) == np.arange(8)).all()
chart = charts.figure(size=(12, 5.2))
left, axes = chart.subplots(1, 2)
for number, (name, curve) in enumerate({"attention": losses, "mean of the values": baseline}.items()):
    charts.curve(left, number, np.arange(len(curve)), curve, name)
charts.label_axes(left, "step", "cross-entropy")
left.legend()
image = axes.imshow(looked, cmap="Blues", vmin=0, vmax=1)
axes.set_xticks(
    range(8), [f"{names[one]}\n{names[other]}" for one, other in zip(example[0, :-1:2], example[0, 1::2])]
)
axes.set_yticks(range(8), [names[one] for one in example[:, -1]])
axes.set(xlabel="pair", ylabel="key that is asked for")
chart.colorbar(image, ax=axes, label="weight")
Image(
    charts.png(chart),
    alt="Attention's loss falls to 0 at once, the mean's stays; each question looks at its own pair",
)

# %% [markdown]
# `make train-attention` does this with 64 keys and up to 64 pairs, with several heads, and on film reviews
# ([README](../apps/attention/README.md)).

# %% [markdown]
# ## What the decks get wrong
#
# ### Padding that gets attention
#
# The layer of slide C13 has no mask. In a batch, short texts are padded, and the padding has keys and values like all
# other words.
#
# > A score of 0 is not "no attention": the exponential of 0 is 1. If 4 words are padded with zeros to 16, about 0.7 of
# > the attention goes to the padding.

# %%
rng = np.random.default_rng(0)
q, k, v = (rng.normal(size=(1, 4, 8)) for _ in range(3))
padded_k, padded_v = (np.concatenate([part, np.zeros((1, 12, 8))], axis=1) for part in (k, v))

alone = layer.forward(q, k, v)
layer.forward(q, padded_k, padded_v)
lost = layer.weights[..., 4:].sum(axis=-1).mean()
present = np.arange(16) < 4
masked = layer.forward(q, padded_k, padded_v, present[None, None])
print(f"attention to the padding: {lost:.2f} without a mask, {layer.weights[..., 4:].sum():g} with one")
assert abs(lost - 0.7) < 0.05
assert (layer.weights[..., 4:] == 0).all()
np.testing.assert_allclose(masked, alone, rtol=1e-12)

# %% [markdown]
# With the mask, the output is the same as without padding. (In the deck's layer, the padding even passes linear layers
# with biases first, so its scores are not 0, but anything.)
#
# ### A name that is never imported
#
# Slide C13 divides by `math.sqrt(...)`, but imports only torch.
#
# > The layer can be created. The error comes with the first forward pass.

# %%
try:
    eval("math.sqrt(64)", {"torch": torch})  # with the names that the slide has imported
except NameError as error:
    print(type(error).__name__, error)

# %% [markdown]
# The scale itself is right. The [errata](../docs/errata.md) have the tests.

# %% [markdown]
# ## Exercises
#
# The solutions are in [solutions/lesson_12.py](solutions/lesson_12.py).
#
# > **1. Predict a number.** A query has a score of exactly 0 at each of 16 keys, of which 12 are padding. Which share of
# > its attention goes to the padding? And if its scores at the 4 words are all 2?

# %%
prediction = [None, None]  # your numbers
for number, score in zip(prediction, (0.0, 2.0)):
    share = softmax(np.array([score] * 4 + [0.0] * 12))[4:].sum()
    print("not answered yet" if number is None else f"you are off by {abs(number - share):.4f}")

# %% [markdown]
# > **2. Write a backward pass.** Fill in that of the softmax, for any number of rows.


# %%
class MySoftmax:
    def forward(self, x):
        self.a = softmax(x)
        return self.a

    def backward(self, dy):
        """Return the gradient of x (N, S)."""
        ...


print(check(MySoftmax(), np.random.default_rng(0).normal(size=(4, 3))))

# %% [markdown]
# > **3. Find the mistake.** This attention masks its padding, and gives the padding no weight. But its output is not
# > that of the text alone. Why?


# %%
def masked_attention(q, k, v, mask):
    """Return the outputs (L, Ev) for q (L, E), k (S, E), v (S, Ev) and mask (S,)."""
    weights = softmax(q @ k.T / np.sqrt(k.shape[1]))
    return (weights * mask) @ v


result = masked_attention(q[0], padded_k[0], padded_v[0], present)
print(f"length {np.linalg.norm(result):.3f} instead of {np.linalg.norm(alone):.3f}")
assert not np.allclose(result, alone[0])

# %% [markdown]
# ## What to remember
#
# - Attention is a mean of values, with weights from the softmax of the scores.
# - The gradient of a softmax: $a \, (\mathit{da} - \sum \mathit{da} \, a)$.
# - Divide the scores by $\sqrt{E}$; otherwise large vectors leave hardly any gradient.
# - Mask before the softmax, and know what True means.
# - A score of 0 still gets weight: the exponential of 0 is 1.
#
# In the browser: after `make train-attention`, `make explore run=latest` writes
# [a page](../docs/usage.md#explore-a-network) that computes your network forward and backward. Append
# `#mode=backward&target=3` to its address to see the attention weights, and the gradient through the softmax.
