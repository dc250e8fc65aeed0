# %% [markdown]
# # 11. Transfer learning
#
# > With few labeled images, do not start from random weights. Start from a network that has learned something similar.
#
# This lesson trains a small network on seven digits, and lets it learn the other three from a handful of images: with
# a frozen backbone, by finetuning, and from scratch. Then it shows why a frozen layer may still change. You need
# [lesson 6](06_training_loop.ipynb), and should know what convolution and batch normalization are. Reading takes
# about fifteen minutes.

# %% tags=["page"]
import json
import warnings

import numpy as np
from IPython.display import Image, Markdown
from sklearn.datasets import load_digits

from shared import charts
from shared.backprop import Adam, BatchNorm1d, BatchNorm2d, Conv2d, CrossEntropyLoss, Flatten
from shared.backprop import Linear, MaxPool2d, ReLU, Sequential
from tools.check import check

# %% [markdown]
# ## Backbone and head
#
# A classifier has two parts. The **backbone** $\varphi$ turns an image into features. The **head**, one linear layer,
# turns the features into a logit for each class:
#
# $$z = V \varphi(x) + c$$
#
# The head belongs to its classes. The backbone does not: strokes, corners and circles are good for digits that it has
# never seen, too. So keep the backbone that a **source task** with many images has trained, and give it a new head for
# the **target task**.
#
# Here the source task is the digits 0 to 6, the target task the digits 7, 8 and 9. They are real handwriting, included in
# scikit-learn. Each digit is placed anywhere in a field of 12 by 12 pixels, so a network has to learn that the place
# does not matter. The last 360 digits, almost all by other writers, are the test set.

# %%
digits = load_digits()
pixels = (digits.images / 16).astype(np.float32)


def draw(which, classes, copies, seed):
    """Return the images (N, 1, 12, 12) of some classes, each placed at random, and their labels."""
    rng = np.random.default_rng(seed)
    chosen = np.tile(which[np.isin(digits.target[which], classes)], copies)
    fields = np.zeros((len(chosen), 1, 12, 12), np.float32)
    for field, image, (top, left) in zip(fields, pixels[chosen], rng.integers(0, 5, (len(chosen), 2))):
        field[0, top : top + 8, left : left + 8] = image
    return fields, np.searchsorted(classes, digits.target[chosen])


known, others = np.arange(1437), np.arange(1437, 1797)
source, target = np.arange(7), np.array([7, 8, 9])
source_train, source_test = draw(known, source, 5, seed=0), draw(others, source, 1, seed=1)
target_train, target_test = draw(known, target, 1, seed=2), draw(others, target, 2, seed=3)
print(f"images: {len(source_train[0])} of the source task, {len(target_train[0])} of the target task")

# %% tags=["fold"]
chart = charts.figure(size=(12, 3.6))
panels = chart.subplots(2, 10)
for column, number in enumerate([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]):
    images, labels = source_train if number < 7 else target_train
    for row, image in enumerate(images[labels == (number if number < 7 else number - 7)][:2, 0]):
        panels[row, column].imshow(image, cmap="gray_r")
        panels[row, column].set(xticks=[], yticks=[])
    panels[0, column].set_title(f"{number}", color=charts.BLUE if number < 7 else charts.VERMILLION)
panels[1, 3].set_xlabel("source task", color=charts.BLUE)
panels[1, 8].set_xlabel("target task", color=charts.VERMILLION)
Image(charts.png(chart), alt="Two images of each digit, at different places of their fields")

# %% [markdown]
# ## The source task
#
# The backbone has two convolutions, each with batch normalization, and a linear layer that leaves 32 features. The
# loop is that of [lesson 6](06_training_loop.ipynb).


# %%
def new_network(classes, seed):
    rng = np.random.default_rng(seed)
    first = Conv2d(1, 16, 3, padding=1, rng=rng), BatchNorm2d(16), ReLU(), MaxPool2d(2)
    second = Conv2d(16, 32, 3, padding=1, rng=rng), BatchNorm2d(32), ReLU(), MaxPool2d(2)
    backbone = Sequential(*first, *second, Flatten(), Linear(288, 32, rng=rng), ReLU())
    return Sequential(backbone=backbone, head=Linear(32, classes, rng=rng))


def fit(network, images, labels, steps, lr, seed=0):
    """Train all parameters with Adam, in batches of 32 or less."""
    loss, optimizer = CrossEntropyLoss(), Adam(network.params, lr=lr)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        batch = rng.choice(len(images), min(32, len(images)), replace=False)
        loss.forward(network.forward(images[batch]), labels[batch])
        network.backward(loss.backward())
        optimizer.step(network.grads)


def accuracy(network, images, labels):
    return (network.eval().forward(images).argmax(axis=1) == labels).mean()


pretrained = new_network(7, seed=0)
fit(pretrained, *source_train, steps=900, lr=0.003)
source_accuracy = accuracy(pretrained, *source_test)
print(f"accuracy on new images of 0 to 6: {source_accuracy:.1%}")
assert source_accuracy > 0.9

# %% [markdown]
# ## A frozen backbone
#
# To **freeze** a layer means that training must not change it: neither its weights nor, for batch normalization,
# its running statistics.
#
# > A frozen layer is left out of the optimizer, **and** it is in evaluation mode.
#
# In Keras, `trainable = False` does both. In PyTorch, `requires_grad = False` does only the first.

# %% tab="by hand"
rng = np.random.default_rng(0)
x, labels = rng.normal(size=(8, 4)).astype(np.float32), np.arange(8) % 2
small = Sequential(backbone=Sequential(Linear(4, 3), BatchNorm1d(3)), head=Linear(3, 2))
before = small.state_dict()

small.children["backbone"].eval()
trained = {name: value for name, value in small.params.items() if name.startswith("head")}
loss = CrossEntropyLoss()
loss.forward(small.forward(x), labels)
small.backward(loss.backward())
Adam(trained, lr=0.1).step({name: small.grads[name] for name in trained})

changed = [name for name, value in small.state_dict().items() if (value != before[name]).any()]
print("changed:", changed)
assert changed == ["head.weight", "head.bias"]

# %% tab="PyTorch"
import torch
from torch import nn

torch.manual_seed(0)
backbone, head = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), nn.Linear(3, 2)
model = nn.Sequential(backbone, head)
before = {name: value.clone() for name, value in model.state_dict().items()}

backbone.requires_grad_(False)
backbone.eval()  # after every model.train()
optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
nn.functional.cross_entropy(model(torch.tensor(x)), torch.tensor(labels)).backward()
optimizer.step()

changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
print("changed:", changed)
assert changed == ["1.weight", "1.bias"]

# %% tab="Keras"
import shared.parity  # torch's compiler must be loaded before TensorFlow
import shared.training.keras_quiet  # without TensorFlow's notes on the screen
import keras

keras.utils.set_random_seed(0)
layers = keras.layers
base = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.BatchNormalization()], name="backbone")
model = keras.Sequential([keras.Input((4,)), base, layers.Dense(2, name="head")])
before = {weight.path: weight.numpy() for weight in model.weights}

base.trainable = False
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(optimizer="adam", loss=loss)
model.fit(x, labels, verbose=0)

changed = [weight.path for weight in model.weights if (weight.numpy() != before[weight.path]).any()]
print("changed:", changed)
assert [path.split("/")[-2:] for path in changed] == [["head", "kernel"], ["head", "bias"]]

# %% [markdown]
# If nothing in the backbone changes, then neither do the features of an image. So compute them once, and train the
# head alone on them: one linear layer, in a fraction of the time.

# %%
backbone = pretrained.children["backbone"].eval()


def frozen(images, labels, seed):
    """Return the pretrained backbone with a new head, trained on features that are computed once."""
    head = Linear(32, 3, rng=np.random.default_rng(seed))
    fit(head, backbone.forward(images), labels, steps=100, lr=0.01, seed=seed)
    return Sequential(backbone=backbone, head=head)


# %% [markdown]
# ## Finetuning
#
# A frozen backbone cannot learn what is new about the target task. **Finetuning** starts from the same weights, and
# trains all layers, $w \leftarrow w - \eta \, \nabla L(w)$ from
#
# $$w_{\text{backbone}} = w_{\text{source}}$$
#
# Large networks need a smaller learning rate for this, so that a few images do not destroy what many have taught. Here
# the same rate and the same number of steps serve for finetuning and for training from scratch, so that only the start
# differs.


# %%
def finetuned(images, labels, seed):
    network = new_network(3, seed)
    known = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    network.load_state_dict(network.state_dict() | known)
    fit(network, images, labels, steps=100, lr=0.003, seed=seed)
    return network


def from_scratch(images, labels, seed):
    network = new_network(3, seed)
    fit(network, images, labels, steps=100, lr=0.003, seed=seed)
    return network


ways = {"finetuned": finetuned, "frozen": frozen, "from scratch": from_scratch}
counts, seeds = (2, 5, 20), (1, 2, 3)
scores = {name: np.zeros((len(counts), len(seeds))) for name in ways}
for row, count in enumerate(counts):
    for column, seed in enumerate(seeds):
        order = np.random.default_rng(seed).permutation(len(target_train[1]))
        few = np.concatenate([order[target_train[1][order] == label][:count] for label in range(3)])
        for name, train in ways.items():
            network = train(target_train[0][few], target_train[1][few], seed)
            scores[name][row, column] = accuracy(network, *target_test)
means = {name: table.mean(axis=1) for name, table in scores.items()}

# %% tags=["fold"]
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
for number, (name, table) in enumerate(scores.items()):
    charts.curve(axes, number, np.arange(3), 100 * means[name], name)
    for column in range(3):
        axes.plot(np.arange(3), 100 * table[:, column], ".", color=charts.STYLES[number][0], alpha=0.5)
axes.axhline(100 / 3, color=charts.GRAY, ls=":", label="guessing")
axes.set_xticks(range(3), [f"{count}" for count in counts])
charts.label_axes(axes, "labeled images per class", "accuracy on new images (%)")
axes.legend(loc="lower right")
Image(
    charts.png(chart),
    alt="Accuracy against labeled images per class: with 2 and 5 images both kinds of transfer are far ahead",
)

# %% tags=["fold"]
rows = ["| labeled images per class | finetuned | frozen | from scratch |", "| --- | --- | --- | --- |"]
for row, count in enumerate(counts):
    cells = [
        f"{100 * means[name][row]:.1f} % ± {100 * table[row].std(ddof=1):.1f}"
        for name, table in scores.items()
    ]
    rows.append(f"| {count} | {' | '.join(cells)} |")
assert min(means["frozen"][:2] - means["from scratch"][:2]) > 0.1
assert min(means["finetuned"][:2] - means["from scratch"][:2]) > 0.1
assert means["frozen"][0] > means["finetuned"][0]
assert abs(means["finetuned"][2] - means["from scratch"][2]) < 0.04
assert min(means["finetuned"][2], means["from scratch"][2]) > means["frozen"][2] + 0.03
Markdown("\n".join(rows))

# %% [markdown]
# These are means and standard deviations of three seeds, which draw the images, too. With two or five images per class,
# both kinds of transfer are more than ten points ahead. With two, the frozen backbone is best: there is too little to
# learn from. With twenty, training from scratch has caught up, and the frozen backbone is in the way.
#
# ### The same with photographs
#
# `make train-resnet` does this with a ResNet-18 and small photographs: pretrained on six classes of CIFAR-10, then
# trained on four others.
#
# > With photographs it is different: in the mean, finetuning beats a frozen backbone with any number of images, and both
# > beat training from scratch.
#
# The table is its recorded result. With all images, the last two differ by less than their spread:

# %% tags=["fold"]
with open("docs/results/resnet_transfer_comparison.json") as file:
    record = json.load(file)["comparison"]
rows = ["| labeled images per class | finetuned | frozen | from scratch |", "| --- | --- | --- | --- |"]
for count in ("5", "20", "50", "all"):
    entries = [record[f"{mode}_{count}"] for mode in ("finetune", "frozen", "scratch")]
    cells = [f"{100 * one['mean']:.1f} % ± {100 * one['deviation']:.1f}" for one in entries]
    rows.append(f"| {count} | {' | '.join(cells)} |")
    assert entries[0]["mean"] > entries[1]["mean"] > entries[2]["mean"]
Markdown("\n".join(rows))

# %% [markdown]
# The [application](../apps/resnet_transfer/README.md#results) has more: weights
# from ImageNet, a MobileNet, three frameworks, and your own pictures.

# %% [markdown]
# ## What the decks get wrong
#
# ### A frozen layer that moves
#
# Slide C11 freezes a ResNet-18 with `requires_grad = False`, and trains a new last layer. It never calls `eval`.
#
# > In training mode, batch normalization updates its running statistics in every forward pass. They are not
# > parameters, so `requires_grad` does not protect them.
#
# With the usual momentum of 0.1, each step replaces a tenth of the old statistics by those of the batch:
#
# $$\mu_{\text{running}} \leftarrow 0.9 \, \mu_{\text{running}} + 0.1 \, \mu_{\text{batch}}$$
#
# After 20 steps, only a share of 0.12 is left of what the source task has measured.

# %%
moving = new_network(7, seed=0)
moving.load_state_dict(pretrained.state_dict())
before = moving.state_dict()
original = moving.eval().forward(target_test[0])

moving.train()
rng = np.random.default_rng(0)
for _ in range(20):  # no optimizer at all
    moving.forward(target_train[0][rng.choice(len(target_train[0]), 32)])
after = moving.eval().forward(target_test[0])

state = moving.state_dict()
changed = {name.split(".")[-1] for name in state if (state[name] != before[name]).any()}
share = np.linalg.norm(after - original) / np.linalg.norm(original)
source_after = accuracy(moving, *source_test)
print("changed:", sorted(changed))
print(f"outputs moved by {share:.2f} of their length")
print(f"accuracy on 0 to 6: {source_accuracy:.1%}, now {source_after:.1%}")
assert changed == {"running_mean", "running_var", "num_batches_tracked"}
assert abs(0.9**20 - 0.12) < 0.005
assert share > 0.1
assert abs(source_after - source_accuracy) < 0.01

# %% [markdown]
# Nothing was trained, and still the "frozen" network gives other outputs. (Its accuracy on 0 to 6 is the same, because
# the statistics of all digits are alike.) In addition, the head is trained on features that are normalized by the
# batch, and evaluated on others. Here, layers that are frozen are in evaluation mode
# in every framework, and a test of `apps/resnet_transfer` compares them to the last bit.
#
# ### An argument that is deprecated
#
# Slide C11 asks for `pretrained=True`.
#
# > torchvision has deprecated `pretrained` since its version 0.13, because there are several weights for one network.
#
# The argument `weights` names them.

# %%
import torchvision

with warnings.catch_warnings(record=True) as raised:
    warnings.simplefilter("always")
    torchvision.models.squeezenet1_1(pretrained=False)
    first = str(raised[0].message)
    raised.clear()
    torchvision.models.squeezenet1_1(weights=None)
    assert not raised
print(first.partition(" and ")[0])
assert first.startswith("The parameter 'pretrained' is deprecated since 0.13")

# %% [markdown]
# The slide also calls the training of the last layer *fine-tuning*, and loops over `num_epochs`, which it never defines.
# The [errata](../docs/errata.md) have the tests. `make train-resnet +experiment=c11` runs its program, once the weights
# from ImageNet are there.

# %% [markdown]
# ## Exercises
#
# The solutions are in [solutions/lesson_11.py](solutions/lesson_11.py).
#
# > **1. Predict a number.** Slide C11 freezes a network with 11 million weights and gives it a new last layer for ten
# > classes, which reads 512 features. How many numbers are trained?

# %%
prediction = None  # your number
count = sum(value.size for value in Linear(512, 10).params.values())
print("not answered yet" if prediction is None else f"right: {prediction == count}")

# %% [markdown]
# > **2. Write a backward pass.** A frozen batch normalization uses fixed statistics, so it is only a linear
# > function of each feature. Fill in `backward`. Finetuning may still train its `gamma` and `beta`.


# %%
class FrozenNorm:
    def __init__(self):
        self.gamma, self.beta = np.array([0.5, 1.0, 2.0]), np.array([0.1, 0.2, 0.3])
        self.statistics = [0.2, -0.1, 0.4], [1.5, 0.5, 1.0]  # means and variances: no parameters

    def forward(self, x):
        mean, var = self.statistics
        self.scale = 1 / np.sqrt(np.array(var) + 1e-5)
        self.xhat = (x - mean) * self.scale
        return self.gamma * self.xhat + self.beta

    def backward(self, dy):
        """Set self.dgamma and self.dbeta; return dx."""
        ...


print(check(FrozenNorm(), np.random.default_rng(0).normal(size=(4, 3))))

# %% [markdown]
# > **3. Find the mistake.** This program replaces the head and trains. The loss does not move, and the new head does
# > not change. Why?

# %%
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 7))
optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
model[0].requires_grad_(False)
model[2] = nn.Linear(3, 2)
start = model[2].weight.clone()
for _ in range(20):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(torch.tensor(x)), torch.arange(8) % 2).backward()
    optimizer.step()
print("the new head has changed:", not torch.equal(model[2].weight, start))
assert torch.equal(model[2].weight, start)

# %% [markdown]
# ## What to remember
#
# - A backbone computes features, a head turns them into classes; a backbone can be reused.
# - With few images start from a pretrained network. Freeze it, or finetune all of it.
# - Frozen means: not in the optimizer, and in evaluation mode.
# - The features of a frozen backbone do not change: compute them once.
# - Running statistics are state, although they are not parameters.
