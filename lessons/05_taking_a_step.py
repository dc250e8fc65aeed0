# %% [markdown]
# # 5. Taking a step
#
# > The gradient says which way is up. An optimizer decides how far to go the other way.
#
# Backpropagation ends with a gradient for every weight. This lesson is about what happens next: a step, its length,
# and four ways to choose it better. You need to know what a gradient is ([lesson 1](01_one_neuron.ipynb)). Reading
# takes about twenty minutes.

# %% tags=["page"]
import numpy as np
from IPython.display import Image

from shared import charts
from shared.backprop import SGD, Adagrad, Adam, RMSprop

# %% [markdown]
# ## One step
#
# The rule is the same for a single number and for a matrix. Subtract the gradient times the **learning
# rate** $\eta$:
#
# $$w \leftarrow w - \eta \frac{\partial L}{\partial w}$$
#
# Slide B6 has a matrix with the numbers 0.1 to 0.9, gradients a tenth of that, and a learning rate of 0.1. So
# each weight loses one percent: the first goes from 0.1 to 0.099, the last from 0.9 to 0.891.

# %% tab="by hand"
before = np.arange(1, 10).reshape(3, 3) / 10
gradient = before / 10
params = {"w": before.copy()}
SGD(params, lr=0.1).step({"w": gradient})
print(params["w"])
np.testing.assert_allclose(params["w"], before - 0.1 * gradient)
np.testing.assert_allclose(params["w"][[0, 2], [0, 2]], [0.099, 0.891])

# %% tab="PyTorch"
import torch

w = torch.tensor(before, requires_grad=True)
w.grad = torch.tensor(gradient)
torch.optim.SGD([w], lr=0.1).step()
print(w.detach().numpy())
np.testing.assert_allclose(w.detach(), params["w"])

# %% tab="Keras"
import shared.training.keras_quiet  # without TensorFlow's notes on the screen
import keras

w = keras.Variable(before, dtype="float64")
keras.optimizers.SGD(learning_rate=0.1).apply([gradient], [w])
print(w.numpy())
np.testing.assert_allclose(w.numpy(), params["w"])

# %% [markdown]
# ## Descent on a parabola
#
# Slide A10 looks for the minimum of $x^2 + 5$. It starts at 10 and takes 100 steps with a learning rate of 0.1.
# The gradient is $2x$, so each step multiplies $x$ by $1 - 2 \eta = 0.8$:
#
# $$x \leftarrow x - \eta \cdot 2x = (1 - 2 \eta) \, x$$
#
# After 100 steps, $10 \cdot 0.8^{100} = 2.04 \cdot 10^{-9}$ is left. The 5 plays no part: a constant has no gradient.


# %%
def descend(rate, steps, start=10.0, slope=lambda x: 2 * x):
    path = [start]
    for _ in range(steps):
        path.append(path[-1] - rate * slope(path[-1]))
    return np.array(path)


print(f"after 100 steps: {descend(0.1, 100)[-1]:.3g}")
np.testing.assert_allclose(descend(0.1, 100)[-1], 2.04e-9, rtol=2e-3)

# %% [markdown]
# The factor $1 - 2 \eta$ decides what happens. Between 0 and 1, the path creeps toward the minimum from one
# side. Between -1 and 0, for rates from 0.5 to 1, it jumps across and still arrives. Above a rate of 1, the
# steps grow, and the descent **diverges**.

# %% tags=["fold"]
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
for number, rate in enumerate((0.02, 0.1, 0.9, 1.03)):
    charts.curve(axes, number, np.arange(21), descend(rate, 20), f"learning rate {rate:g}")
charts.label_axes(axes, "step", "x")
axes.set_xticks(range(0, 21, 5))
axes.legend(ncols=2)
Image(
    charts.png(chart),
    alt="Four paths: slow from one side, faster, jumping across and converging, and diverging",
)

# %% tags=["page"]
assert abs(descend(0.02, 20)[-1]) > 4
assert abs(descend(0.9, 100)[-1]) < 1e-8
assert abs(descend(1.03, 20)[-1]) > 10

# %% [markdown]
# ## Three learning rates
#
# Slide B9 does the same for $x^2 + x$, whose minimum is at -0.5. It starts at 5 and takes 100 steps. With a rate of
# 0.1 it arrives. With 0.01 it has only reached 0.2294, and with 0.001 it is still at 4.0021.


# %%
def slope(x):
    return 2 * x + 1


ends = [descend(rate, 100, 5.0, slope)[-1] for rate in (0.1, 0.01, 0.001)]
print("after 100 steps:", np.round(ends, 4))
np.testing.assert_allclose(ends, [-0.5, 0.2294, 4.0021], atol=5e-5)

# %% [markdown]
# ## Momentum
#
# A learning rate that suits one direction may be too small for another. In a long, narrow valley, the
# gradient points across it rather than along. Momentum adds up past gradients: across the valley they cancel,
# along it they accumulate.
#
# $$v \leftarrow \mu v + g \qquad w \leftarrow w - \eta v$$
#
# With a constant gradient, $v$ approaches $g / (1 - \mu)$. At $\mu = 0.9$ the steps become ten times as long.


# %%
def run(optimizer, params, slope, steps):
    path = [params["w"].copy()]
    for _ in range(steps):
        optimizer.step({"w": slope(params["w"])})
        path.append(params["w"].copy())
    return np.array(path)


def valley(w):  # the gradient of (w1² + 30 w2²) / 2
    return w * [1, 30]


def start():
    return {"w": np.array([10.0, 1.0])}


# %% [markdown]
# Across, this valley is curved 30 times as strongly as along. From the same start, with the same learning rate:

# %%
plain, heavy = start(), start()
run(SGD(plain, lr=0.03), plain, valley, 60)
run(SGD(heavy, lr=0.03, momentum=0.8), heavy, valley, 60)
far, near = np.linalg.norm(plain["w"]), np.linalg.norm(heavy["w"])
print(f"distance to the minimum: plain {far:.3f}, momentum {near:.3f}")
assert near < far / 100

# %% [markdown]
# ## Adam, RMSprop and Adagrad
#
# The other idea is a learning rate for each weight. If the gradients of a weight are always large, divide them
# by their typical size. Adagrad divides by the root of the **sum** of all past squares, so its steps only get
# smaller. RMSprop takes a moving **average** instead and forgets old gradients. Adam adds momentum:
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1) g \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \qquad
# w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}$$
#
# The two divisions correct the start, where $m$ and $v$ are still close to their initial zeros. In the first
# step, only the sign of the gradient is left, so every weight moves by the learning rate. Slide B15 takes just
# this step, with a rate of 0.001:

# %% tab="by hand"
params = {"w": np.array([0.1, 0.2, 0.3, 0.4])}
small = np.array([0.01, 0.02, 0.03, 0.04])
Adam(params, lr=0.001).step({"w": small})
print(params["w"].round(6))
np.testing.assert_allclose(params["w"], [0.099, 0.199, 0.299, 0.399], atol=1e-8)

# %% tab="PyTorch"
w = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64, requires_grad=True)
w.grad = torch.tensor(small)
torch.optim.Adam([w], lr=0.001).step()
print(w.detach().numpy().round(6))
np.testing.assert_allclose(w.detach(), params["w"], atol=1e-12)

# %% tab="Keras"
w = keras.Variable(np.array([0.1, 0.2, 0.3, 0.4]), dtype="float64")
keras.optimizers.Adam(learning_rate=0.001).apply([small], [w])
print(w.numpy().round(6))
np.testing.assert_allclose(w.numpy(), params["w"], atol=1e-6)  # its eps is 1e-7, not 1e-8

# %% tags=["fold"]
makers = {
    "plain": lambda p: SGD(p, lr=0.03),
    "momentum 0.8": lambda p: SGD(p, lr=0.03, momentum=0.8),
    "RMSprop": lambda p: RMSprop(p, lr=0.2),
    "Adagrad": lambda p: Adagrad(p, lr=2.0),
    "Adam": lambda p: Adam(p, lr=0.5),
}
chart = charts.figure(size=(12, 5.6))
left, right = chart.subplots(1, 2, width_ratios=(3, 2))
across, along = np.meshgrid(np.linspace(-2, 10.5, 80), np.linspace(-1.3, 1.3, 80))
left.contour(across, along, across**2 + 30 * along**2, levels=12, colors="#cccccc", linewidths=1)
for number, (name, make) in enumerate(makers.items()):
    params = start()
    path = run(make(params), params, valley, 60)
    charts.curve(left, number, path[:, 0], path[:, 1], name)
    charts.curve(right, number, np.arange(61), np.maximum(path**2 @ [0.5, 15], 1e-8), name)
charts.label_axes(left, "first weight", "second weight")
charts.label_axes(right, "step", "loss")
charts.log_scale(right)
charts.legend_below(chart, left, 5)
Image(charts.png(chart), alt="Paths of five optimizers in a narrow valley, and their losses by step")

# %% [markdown]
# No method wins everywhere, and each needs its own learning rate: those in this picture go from 0.03 to 2.
# `make train-gradient-flow` draws a valley, too, and `make train-mnist optimizer=adagrad` tries Adagrad on digits.

# %% [markdown]
# ## What the decks get wrong
#
# ### A velocity that stays zero
#
# Slide C6 loops over its velocities and writes `velocity = ...` in the loop.
#
# > `velocity = ...` gives the **name** a new value; the list keeps the old array.
#
# So each step starts from a velocity of 0, and the momentum has no effect. With a constant gradient of 1, a rate of
# 0.01 and a momentum of 0.9, ten steps lead to -0.1 instead of -0.4138.


# %%
def ten_steps(keep):
    w, velocities = 0.0, [0.0]
    for _ in range(10):
        for place, velocity in enumerate(velocities):
            velocity = 0.9 * velocity + 0.01 * 1.0
            if keep:
                velocities[place] = velocity
            w -= velocity
    return w


params = {"w": np.zeros(1)}
run(SGD(params, lr=0.01, momentum=0.9), params, np.ones_like, 10)
print(f"as published {ten_steps(keep=False):.4f}, kept {ten_steps(keep=True):.4f}, SGD {params['w'][0]:.4f}")
assert abs(ten_steps(keep=False) + 0.1) < 1e-12
assert abs(ten_steps(keep=True) + 0.4138) < 5e-5
assert abs(params["w"][0] + 0.4138) < 5e-5

# %% [markdown]
# ### The same mistake in Adam
#
# On slide B15 it has a stranger effect.
#
# > The moments stay 0, but the corrections for the start change with $t$.
#
# With a constant gradient, the step should always be one learning rate long. As published, it is 0.484 learning
# rates long at step 10, and 3.162 at step 10,000.


# %%
def published_step(t, g=1.0):
    m, v = 0.1 * g, 0.001 * g**2  # from moments of 0, in every step
    return m / (1 - 0.9**t) / np.sqrt(v / (1 - 0.999**t))


for t in (1, 10, 10_000):
    print(f"step {t}: {published_step(t):.3f} learning rates")
np.testing.assert_allclose([published_step(t) for t in (1, 10, 10_000)], [1, 0.484, 3.162], rtol=1e-3)

# %% tags=["fold"]
times = np.arange(1, 10_001)
params = {"w": np.zeros(1)}
path = run(Adam(params, lr=0.001), params, np.ones_like, 10_000)[:, 0]
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
axes.plot(
    times, [published_step(t) for t in times], color=charts.VERMILLION, ls="--", lw=2.5, label="moments lost"
)
axes.plot(times, -np.diff(path) / 0.001, color=charts.BLUE, lw=2.5, label="Adam")
axes.set_xscale("log")
charts.label_axes(axes, "step", "step length in learning rates")
axes.legend()
Image(
    charts.png(chart),
    alt="Step length: Adam's is always 1; without moments it falls to 0.48 and rises to 3.16",
)

# %% [markdown]
# The slide takes only the first step, where both agree, so it does not show. Test an optimizer with more than
# one step.
#
# ### A start that changes
#
# Slides A10 and B9 write `vector += step`. For the plain number in the deck this is harmless.
#
# > If the start is an **array**, it is changed in place, so the caller's start is gone.
#
# After 100 steps at a rate of 0.01, a start of 10 has become 1.326, and a second run with another learning rate
# would begin there.


# %%
def descend_in_place(vector, rate):
    for _ in range(100):
        vector += -rate * 2 * vector
    return vector


point = np.array([10.0])
descend_in_place(point, 0.01)
print("the start is now", point.round(3))
np.testing.assert_allclose(point, 1.326, rtol=1e-3)

# %% [markdown]
# ### Stopping when the step is small
#
# Slide B9 stops when the step is shorter than 1e-6. But the step is the gradient **times the learning rate**.
# With a tiny rate, $10^{-8}$, it stops at once, at the start, where the gradient is 11.
#
# > Compare the gradient with the tolerance, not the step.

# %%
tiny_step = 1e-8 * slope(5.0)
print(f"gradient {slope(5.0):g}, step {tiny_step:.1e}: below the tolerance of 1e-6")
assert slope(5.0) == 11
assert tiny_step < 1e-6

# %% [markdown]
# The [errata](../docs/errata.md) have all of these with their tests.

# %% [markdown]
# ## Exercises
#
# The solutions are in [solutions/lesson_05.py](solutions/lesson_05.py).
#
# > **1. Predict a number.** From which learning rate on does descent on $3x^2$ diverge? Use the factor by which a
# > step multiplies $x$. Then try a rate just below and one just above.


# %%
def still_converges(rate):
    return bool(abs(descend(rate, 1000, 1.0, lambda x: 6 * x)[-1]) < 1)


print({rate: still_converges(rate) for rate in (0.1, 0.5)})

# %% [markdown]
# > **2. Write an optimizer.** Fill in `step`: momentum, with a velocity that is kept.


# %%
class Momentum:
    def __init__(self, w, rate, mu):
        self.w, self.rate, self.mu, self.v = w, rate, mu, np.zeros_like(w)

    def step(self, g):
        """Update self.v and self.w, given the gradient g."""
        ...


mine = Momentum(np.zeros(1), 0.01, 0.9)
for _ in range(10):
    mine.step(np.ones(1))
print("right" if abs(mine.w[0] + 0.4138) < 5e-5 else f"w is {mine.w[0]:.4f}")

# %% [markdown]
# > **3. Find the mistake.** This RMSprop works for one weight. With two weights, if one has large gradients, the
# > other hardly moves. Why?


# %%
def rmsprop(w, slope, steps, rate=0.05):
    v = 0.0
    for _ in range(steps):
        g = slope(w)
        v = 0.9 * v + 0.1 * (g @ g)
        w = w - rate * g / (np.sqrt(v) + 1e-8)
    return w


moved = rmsprop(np.array([1.0, 1.0]), lambda w: w * [1000, 1], 10)
print("two weights after ten steps:", moved.round(3))
assert moved[1] > 0.99

# %% [markdown]
# ## What to remember
#
# - Subtract the gradient times the learning rate.
# - Too small a rate is slow; too large a rate diverges.
# - Momentum adds up gradients that agree; Adam also divides by their typical size.
# - An optimizer has state. In Python, `name = ...` in a loop does not change a list.
# - Stop when the gradient is small, not the step.
#
# In the browser: after `make train-xor`, `make explore run=latest` writes
# [a page](../docs/usage.md#explore-a-network) that computes your network forward and backward. Append
# `#start=drawn&lr=1` to its address to begin with new weights; **1 step** takes a step. Try a learning rate of
# 1000, too.
