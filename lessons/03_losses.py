# %% [markdown]
# # 3. Losses
#
# > A loss turns "how wrong" into one number. Its derivative tells every weight what to do about it.
#
# This lesson computes the two losses that the decks use, shows why one of them learns faster from its
# mistakes, and why losses take logits instead of probabilities. You need the sigmoid and its derivative
# ([lesson 1](01_one_neuron.ipynb)). Reading takes about fifteen minutes.

# %% tags=["page"]
import numpy as np
from IPython.display import Image

from shared import charts
from shared.backprop import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, Sigmoid
from tools.check import check

# %% [markdown]
# ## The mean squared error
#
# Compare each prediction $x$ with its target $t$, square the differences, and take their mean:
#
# $$L = \frac{1}{N} \sum_n (x_n - t_n)^2 \qquad \frac{\partial L}{\partial x_n} = \frac{2}{N} (x_n - t_n)$$
#
# Slide B3 has the predictions 0.7, 0.3 and 0.8 for the targets 1, 0 and 1. Their mean squared error is 0.0733.
# The squares make one large error worse than several small ones.

# %%
predicted, actual = np.array([0.7, 0.3, 0.8]), np.array([1.0, 0.0, 1.0])
loss = MSELoss()
print(f"loss {loss.forward(predicted, actual):.4f}, gradient {loss.backward().round(4)}")
assert abs(loss.forward(predicted, actual) - 0.0733) < 5e-5
np.testing.assert_allclose(loss.backward(), 2 * (predicted - actual) / 3)

# %% [markdown]
# Deck D defines half of the square, $\frac{1}{2} (x - t)^2$, so that the 2 cancels and the gradient is just
# $x - t$. That is a matter of taste, as long as loss and gradient belong together.

# %% [markdown]
# ## The cross-entropy
#
# If the output is the **probability** $p$ of class 1, there is a better question than how far it is from the
# target: how surprised are we by what happened? The surprise is $-\log$ of the probability that we gave to
# it. An event with probability 1 is no surprise; one with probability 0 would be an infinite surprise.
#
# $$L = -\frac{1}{N} \sum_n \bigl( t_n \log p_n + (1 - t_n) \log (1 - p_n) \bigr)$$
#
# For the predictions of slide B3 it is 0.3122.

# %%
entropy = -(actual * np.log(predicted) + (1 - actual) * np.log(1 - predicted)).mean()
print(f"cross-entropy {entropy:.4f}")
assert abs(entropy - 0.3122) < 5e-5

# %% [markdown]
# In the picture, the target is 1. The squared error of the worst possible prediction is only 1. The
# cross-entropy has no upper bound: it punishes a network that is confident and wrong.

# %% tags=["fold"]
p = np.linspace(0.005, 1, 200)
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
charts.curve(axes, 0, p, -np.log(p), "cross-entropy")
charts.curve(axes, 1, p, (p - 1) ** 2, "squared error")
charts.label_axes(axes, "predicted probability of what happened", "loss")
axes.legend()
Image(
    charts.png(chart),
    alt="Loss against probability: the cross-entropy rises without bound towards 0, the squared error ends at 1",
)

# %% [markdown]
# ## Why a loss takes logits
#
# The output of a classifier comes from a sigmoid, $p = \sigma(z)$. Its input $z$ is called the **logit**.
# Follow both losses back to it:
#
# $$\text{squared error: } \frac{\partial L}{\partial z} = 2 (p - t) \, p (1 - p) \qquad
# \text{cross-entropy: } \frac{\partial L}{\partial z} = p - t$$
#
# In the second, the slope of the sigmoid cancels. This is the first reason to combine sigmoid and loss:
#
# > With the cross-entropy, the gradient is the error itself. With the squared error, a neuron that is confident
# > and wrong hardly learns.
#
# Take a target of 1 and a logit of -5. The output, 0.0067, could hardly be worse. The cross-entropy has a gradient
# of -0.9933, the squared error one of only -0.0132, which is 75 times smaller.

# %% tab="by hand"
z, target = np.array([[-5.0]]), np.array([[1.0]])

sigmoid, square, entropy = Sigmoid(), MSELoss(), BCEWithLogitsLoss()
square.forward(sigmoid.forward(z), target)
of_square = sigmoid.backward(square.backward()).item()
entropy.forward(z, target)
of_entropy = entropy.backward().item()

print(f"output {sigmoid.forward(z).item():.4f}, gradients {of_square:.4f} and {of_entropy:.4f}")
np.testing.assert_allclose(sigmoid.forward(z), 0.0067, atol=5e-5)
np.testing.assert_allclose([of_square, of_entropy], [-0.0132, -0.9933], atol=5e-5)
assert round(of_entropy / of_square) == 75

# %% tab="PyTorch"
import torch
from torch.nn import functional as F

logit, wanted = torch.tensor([[-5.0]], requires_grad=True), torch.tensor([[1.0]])

(first,) = torch.autograd.grad(F.mse_loss(torch.sigmoid(logit), wanted), logit)
(second,) = torch.autograd.grad(F.binary_cross_entropy_with_logits(logit, wanted), logit)
print(f"gradients {first.item():.4f} and {second.item():.4f}")
np.testing.assert_allclose([first.item(), second.item()], [of_square, of_entropy], rtol=1e-4)

# %% tab="Keras"
import shared.training.keras_quiet  # without TensorFlow's notes on the screen
import keras
import tensorflow as tf

logit, wanted = tf.Variable([[-5.0]]), tf.constant([[1.0]])

with tf.GradientTape(persistent=True) as tape:
    squares = keras.losses.MeanSquaredError()(wanted, tf.sigmoid(logit))
    entropies = keras.losses.BinaryCrossentropy(from_logits=True)(wanted, logit)
first, second = tape.gradient(squares, logit), tape.gradient(entropies, logit)
print(f"gradients {float(first[0, 0]):.4f} and {float(second[0, 0]):.4f}")
np.testing.assert_allclose([first[0, 0], second[0, 0]], [of_square, of_entropy], rtol=1e-4)

# %% tags=["fold"]
logits = np.linspace(-8, 8, 200)
p = 1 / (1 + np.exp(-logits))
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
charts.curve(axes, 0, logits, p - 1, "cross-entropy: p - 1")
charts.curve(axes, 1, logits, 2 * (p - 1) * p * (1 - p), "squared error: 2 (p - 1) p (1 - p)")
charts.label_axes(axes, "logit z, target 1", "gradient of the loss with respect to z")
axes.legend()
Image(
    charts.png(chart),
    alt="Gradient against logit: the cross-entropy's goes to -1 for wrong logits, the squared error's to 0",
)

# %% [markdown]
# The second reason is accuracy. For a logit of 40, the probability rounds to exactly 1, and the logarithm of
# $1 - p$ is minus infinity. `BCEWithLogitsLoss` never computes $p$. It uses the same formula in another form,
# $\max(z, 0) - z t + \log(1 + e^{-|z|})$, which cannot overflow ([losses.py](../shared/backprop/losses.py)):

# %%
big, one, zero = np.array([1000.0]), np.ones(1), np.zeros(1)
print("right answers:", entropy.forward(big, one), entropy.forward(-big, zero))
print("wrong answer: ", entropy.forward(big, zero))
assert entropy.forward(big, one) == entropy.forward(-big, zero) == 0
assert entropy.forward(big, zero) == 1000

# %% [markdown]
# ## Softmax and cross-entropy
#
# With several classes, the softmax turns logits into probabilities, and the loss is the surprise at the right
# class $k$. The gradient has the same simple form: the probabilities, minus 1 at the right class.
#
# $$p_i = \frac{e^{z_i}}{\sum_j e^{z_j}} \qquad L = -\log p_k \qquad
# \frac{\partial L}{\partial z_i} = p_i - [i = k]$$

# %%
scores, label = np.array([[2.0, 1.0, -1.0]]), np.array([1])
many = CrossEntropyLoss()
value = many.forward(scores, label)
gradient = many.backward()
probabilities = np.exp(scores) / np.exp(scores).sum()
print(f"probabilities {probabilities.round(3)}, loss {value:.3f}, gradient {gradient.round(3)}")
np.testing.assert_allclose(gradient, probabilities - [[0, 1, 0]])
assert abs(gradient.sum()) < 1e-12

# %% [markdown]
# The gradient sums to 0: what a step adds to the right logit, it takes from the others.

# %% [markdown]
# ## What the decks get wrong
#
# ### A small number inside the logarithm
#
# Slide C5 computes the cross-entropy from probabilities. For an output of exactly 1, which is what a logit of
# 40 gives, it returns NaN if the answer was right and infinity if it was wrong. Slide B3 adds $10^{-15}$ inside
# both logarithms to prevent this.
#
# > With $10^{-15}$ inside the logarithms, nothing fails, but the numbers are wrong.
#
# The loss of a right answer is negative, -1.1e-15, and that of a wrong answer cannot exceed 34.54, whatever the
# logit.


# %%
def cross_entropy(p, t, small=0.0):
    with np.errstate(all="ignore"):
        return -(t * np.log(p + small) + (1 - t) * np.log(1 - p + small))


certain = 1.0
print("C5: right", cross_entropy(certain, 1), " wrong", cross_entropy(certain, 0))
capped = cross_entropy(certain, 0, 1e-15)
print("B3: right", cross_entropy(certain, 1, 1e-15), " wrong", capped.round(2))
print("with logits 40 and 100:", *(entropy.forward(np.array([logit]), zero) for logit in (40.0, 100.0)))
assert np.isnan(cross_entropy(certain, 1))
assert np.isinf(cross_entropy(certain, 0))
assert abs(cross_entropy(certain, 1, 1e-15) + 1.1e-15) < 0.05e-15
assert abs(capped - 34.54) < 0.005

# %% [markdown]
# Where the loss is capped, its gradient is zero, and a network that is badly wrong stops learning.
#
# ### Labels that are not 0 and 1
#
# Slide B12 uses the binary cross-entropy with the labels of its data set, which are 1 and 2. The formula
# accepts any number.
#
# > With a target of 2, a larger logit is always better, and the loss has no lower bound.
#
# It is about -10 at a logit of 10, -100 at 100 and -1000 at 1000. The network learns to push the logit up
# for every review.

# %%
for logit in (10.0, 100.0, 1000.0):
    value = entropy.forward(np.array([logit]), np.array([2.0]))
    print(f"logit {logit:g}: loss {value:.4g}")
    np.testing.assert_allclose(value, -logit, rtol=1e-4)

# %% [markdown]
# A negative loss is a sign that the labels do not fit it.
#
# ### Not a mistake: a second log-softmax
#
# The network of slide B11 ends with a log-softmax, and its loss applies another one.
#
# > A second log-softmax has no effect: the probabilities already sum to 1, so the logarithm of their sum is 0.
#
# Loss and gradient stay the same.

# %%
log_p = scores - np.log(np.exp(scores).sum())
again = log_p - np.log(np.exp(log_p).sum())
np.testing.assert_allclose(again, log_p)
np.testing.assert_allclose(many.forward(log_p, label), many.forward(scores, label))
print("log-softmax twice is log-softmax once")

# %% [markdown]
# Slides C3 and C7 minimize the cross-entropy and print the mean squared error
# ([lesson 4](04_backward_by_hand.ipynb)). The [errata](../docs/errata.md) have all of these with their tests.

# %% [markdown]
# ## Exercises
#
# The solutions are in [solutions/lesson_03.py](solutions/lesson_03.py).
#
# > **1. Predict a number.** A network for ten digits has not learned anything yet, and gives each class the
# > same probability. What is its cross-entropy? Compare the first loss of any training run with this number: if it
# > is much larger, the initial weights are too large.

# %%
prediction = None  # your number
start = CrossEntropyLoss().forward(np.zeros((5, 10)), np.arange(5))
print("not answered yet" if prediction is None else f"you are off by {abs(prediction - start):.4f}")

# %% [markdown]
# > **2. Write a backward pass.** The Huber loss is quadratic for small errors and linear for large
# > ones, so that outliers count less. With $e = x - t$, each number contributes $e^2 / 2$ where $|e| \le 1$ and
# > $|e| - 1/2$ elsewhere, and the loss is their mean.


# %%
class Huber:
    def forward(self, x, t):
        self.e = x - t
        small = abs(self.e) <= 1
        return np.where(small, self.e**2 / 2, abs(self.e) - 0.5).mean()

    def backward(self):
        """Return the gradient of x."""
        ...


rng = np.random.default_rng(0)
print(check(Huber(), rng.normal(size=(4, 3)), rng.normal(size=(4, 3))))

# %% [markdown]
# > **3. Find the mistake.** This is meant to be the mean of the binary cross-entropy, with its gradient $p - t$.


# %%
class Entropy:
    def forward(self, z, t):
        self.p, self.t = 1 / (1 + np.exp(-z)), t
        return (np.logaddexp(0, z) - z * t).mean()

    def backward(self):
        return self.p - self.t


result = check(Entropy(), rng.normal(size=(4, 3)), rng.uniform(size=(4, 3)))
print(result)
assert not result.ok

# %% [markdown]
# ## What to remember
#
# - Squared error for numbers, cross-entropy for probabilities.
# - Give the loss logits. Then the gradient is $p - t$, and nothing overflows.
# - No small constants inside a logarithm: they hide the problem and stop the learning.
# - A cross-entropy starts near `log(classes)`, and is never negative.
