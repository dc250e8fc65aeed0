# %% [markdown]
# # 1. One neuron and one derivative
#
# > Training a network needs one thing from mathematics: the derivative of a long calculation.
#
# This lesson computes one for a chain of three operations, then for a single neuron. A network with a million
# weights needs nothing new, only more of the same.
#
# You need to know what a function is, and that the derivatives of $x^2$ and $x^3$ are $2x$ and $3x^2$. Reading
# takes about fifteen minutes. Run the cells yourself: change a number and see what happens.

# %% tags=["page"]
import numpy as np
from IPython.display import Image

from shared import charts
from shared.backprop import Linear, MSELoss, Sigmoid
from tools.check import check

# %% [markdown]
# ## What a derivative says
#
# Take the function
#
# $$f(x) = (x^2 + 1)^3$$
#
# At $x = 2$ its value is 125. Now move $x$ a little, to 2.001. By how much does $f$ change?


# %%
def f(x):
    return (x**2 + 1) ** 3


step = 0.001
slope = (f(2 + step) - f(2)) / step
print(f"f(2) = {f(2)}, f(2.001) = {f(2.001):.4f}, slope {slope:.3f}")
assert f(2) == 125
assert abs(slope - 300) < 0.5

# %% [markdown]
# The change is about 300 times as large as the step. The **derivative** is what this ratio approaches as
# the step shrinks to zero:
#
# $$f'(x) = \underset{h \to 0}{\lim} \, \frac{f(x + h) - f(x)}{h}$$
#
# > A derivative answers one question: if I change this number a little, how many times as much does that
# > one change?
#
# In the picture it is the slope of the line that touches the curve.

# %% tags=["fold"]
x = np.linspace(0.5, 2.4, 100)
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
charts.curve(axes, 0, x, f(x), "f(x)")
charts.curve(axes, 1, x[60:], 125 + 300 * (x[60:] - 2), "the line through (2, 125) with slope 300")
axes.plot(2, 125, "o", color=charts.BLACK, ms=11)
charts.label_axes(axes, "x", "f(x)")
axes.legend()
Image(charts.png(chart), alt="The curve of f and the line that touches it at x = 2, with slope 300")

# %% [markdown]
# ## The chain rule
#
# To find the derivative without trying small steps, split the function into operations so simple that the
# derivative of each is known:
#
# $$a = x^2 \qquad b = a + 1 \qquad c = b^3$$
#
# If $x$ grows a little, $a$ grows $2x$ times as much. Then $b$ grows exactly as much as $a$, a factor of 1, and
# $c$ grows $3b^2$ times as much as $b$. The factors multiply:
#
# $$\frac{dc}{dx} = \frac{dc}{db} \cdot \frac{db}{da} \cdot \frac{da}{dx} = 3b^2 \cdot 1 \cdot 2x$$
#
# This is the **chain rule**. Computing it takes two passes. The forward pass goes from left to right and
# keeps every intermediate value. The backward pass goes from right to left and uses them.

# %% tab="by hand"
# forward: the values
x = 2.0
a = x**2
b = a + 1
c = b**3

# backward: the derivative of c with respect to each of them
dc = 1.0
db = dc * 3 * b**2
da = db * 1
dx = da * 2 * x
print(f"forward:  x = {x:g}, a = {a:g}, b = {b:g}, c = {c:g}")
print(f"backward: dc = {dc:g}, db = {db:g}, da = {da:g}, dx = {dx:g}")
assert (a, b, c) == (4, 5, 125)
assert (db, da, dx) == (75, 75, 300)

# %% tab="PyTorch"
import torch

x = torch.tensor(2.0, requires_grad=True)
a = x**2
b = a + 1
c = b**3
for value in (a, b):
    value.retain_grad()  # torch keeps only the gradients of the leaves, unless asked
c.backward()
print(f"c = {c.item():g}, db = {b.grad.item():g}, da = {a.grad.item():g}, dx = {x.grad.item():g}")
assert (c.item(), b.grad.item(), x.grad.item()) == (125, 75, 300)

# %% tab="TensorFlow"
import shared.training.keras_quiet  # without TensorFlow's notes on the screen
import tensorflow as tf

x = tf.constant(2.0)
with tf.GradientTape() as tape:
    tape.watch(x)
    a = x**2
    b = a + 1
    c = b**3
db, da, dx = tape.gradient(c, [b, a, x])
print(f"c = {float(c):g}, db = {float(db):g}, da = {float(da):g}, dx = {float(dx):g}")
assert (float(c), float(db), float(dx)) == (125, 75, 300)

# %% [markdown]
# All three do the same. A framework records the forward pass while it runs, and then walks back through the
# record. Here is the whole calculation, with the values above the boxes and the derivatives below:

# %% tags=["fold"]
chart = charts.figure(size=(12, 3.4))
axes = chart.subplots()
names = ["x", "a = x²", "b = a + 1", "c = b³"]
values, gradients, factors = (2, 4, 5, 125), (300, 75, 75, 1), ("2x = 4", "1", "3b² = 75")
for place, (name, value, gradient) in enumerate(zip(names, values, gradients)):
    style = {"boxstyle": "round,pad=0.6", "fc": "white", "ec": charts.BLACK, "lw": 2}
    axes.text(3 * place, 0, name, bbox=style, fontsize=17, **charts.CENTERED)
    axes.text(3 * place, 0.62, f"{value}", color=charts.BLUE, fontsize=18, **charts.CENTERED)
    axes.text(3 * place, -0.62, f"{gradient}", color=charts.VERMILLION, fontsize=18, **charts.CENTERED)
for place, factor in enumerate(factors):
    start, end = 3 * place + 0.85, 3 * place + 2.1
    axes.annotate(
        "", (end, 0.12), (start, 0.12), arrowprops={"arrowstyle": "->", "color": charts.BLUE, "lw": 2}
    )
    arrow = {"arrowstyle": "->", "color": charts.VERMILLION, "lw": 2}
    axes.annotate("", (start, -0.12), (end, -0.12), arrowprops=arrow)
    axes.text(
        3 * place + 1.48, -0.4, f"times {factor}", color=charts.VERMILLION, fontsize=13, **charts.CENTERED
    )
axes.text(4.5, 1.0, "forward: values", color=charts.BLUE, fontsize=15, **charts.CENTERED)
axes.text(4.5, -1.0, "backward: derivatives of c", color=charts.VERMILLION, fontsize=15, **charts.CENTERED)
axes.set(xlim=(-0.9, 10), ylim=(-1.2, 1.2))
axes.axis("off")
Image(charts.png(chart), alt="The graph x, a, b, c with values 2, 4, 5, 125 and derivatives 300, 75, 75, 1")

# %% [markdown]
# ### A value that is used twice
#
# Often one value goes into two operations. A shared weight, or an input that several neurons read, affects the
# result in several ways. Take $y = u \cdot v$ with $u = x^2$ and $v = 3x$:
#
# $$\frac{dy}{dx} = \frac{dy}{du} \cdot \frac{du}{dx} + \frac{dy}{dv} \cdot \frac{dv}{dx} = v \cdot 2x + u \cdot 3$$
#
# > Along a path, multiply. Where paths meet again, add.

# %%
x = 2.0
u, v = x**2, 3 * x
y = u * v
du, dv = v, u
dx = du * 2 * x + dv * 3
print(f"y = {y:g}, by the path through u: {du * 2 * x:g}, through v: {dv * 3:g}, together: {dx:g}")
assert dx == 36 == 9 * x**2  # y is 3x³

# %% [markdown]
# Multiplying along the paths and adding where they meet is all of backpropagation. The rest of this course
# is about doing it for arrays, quickly, and without mistakes.

# %% [markdown]
# ## A linear neuron
#
# A neuron multiplies each input by a weight and adds a bias. With the squared error as its loss:
#
# $$y = w_1 x_1 + w_2 x_2 + w_3 x_3 + b \qquad L = (y - t)^2$$
#
# The chain has two links, and each weight has one path to the loss:
#
# $$\frac{\partial L}{\partial y} = 2 (y - t) \qquad \frac{\partial y}{\partial w_i} = x_i \qquad
# \frac{\partial L}{\partial w_i} = 2 (y - t) \, x_i$$
#
# For the inputs 1, 2 and 3, an output of 0.7 and a target of 0.5, the gradient is 0.4, 0.8 and 1.2: the error,
# doubled, times the input of each weight. The third weight has the largest input, so changing it changes the loss
# most. `Linear` and `MSELoss` compute it in this repository ([linear.py](../shared/backprop/linear.py),
# [losses.py](../shared/backprop/losses.py)):

# %% tab="by hand"
x, target = np.array([[1.0, 2.0, 3.0]]), np.array([[0.5]])
neuron, loss = Linear(3, 1, dtype=np.float64), MSELoss()
neuron.params["weight"][...] = [[0.1, 0.15, 0.1]]
neuron.params["bias"][...] = 0

y = neuron.forward(x)
value = loss.forward(y, target)
dy = loss.backward()
dx = neuron.backward(dy)
print(f"y = {y.item():.1f}, loss = {value:.2f}, dL/dy = {dy.item():.1f}")
print("dL/dw =", neuron.grads["weight"].round(10), " dL/db =", neuron.grads["bias"].round(10))
np.testing.assert_allclose(y, 0.7)
np.testing.assert_allclose(neuron.grads["weight"], [[0.4, 0.8, 1.2]])

# %% tab="PyTorch"
inputs, targets = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5]])
layer = torch.nn.Linear(3, 1)
with torch.no_grad():
    layer.weight.copy_(torch.tensor([[0.1, 0.15, 0.1]]))
    layer.bias.zero_()

error = torch.nn.functional.mse_loss(layer(inputs), targets)
error.backward()
dw, db = layer.weight.grad.numpy(), layer.bias.grad.numpy()
print(f"loss = {error.item():.2f}, dL/dw = {dw.round(4)}, dL/db = {db.round(4)}")
np.testing.assert_allclose(dw, [[0.4, 0.8, 1.2]], rtol=1e-5)

# %% tab="Keras"
import keras

layer = keras.layers.Dense(1)
layer.build((None, 3))
layer.set_weights([np.array([[0.1], [0.15], [0.1]]), np.zeros(1)])

with tf.GradientTape() as tape:
    output = layer(tf.constant([[1.0, 2.0, 3.0]]))
    error = keras.losses.MeanSquaredError()(tf.constant([[0.5]]), output)
dw, db = tape.gradient(error, layer.trainable_variables)
print(f"loss = {float(error):.2f}, dL/dw = {dw.numpy().ravel().round(4)}, dL/db = {db.numpy().round(4)}")
np.testing.assert_allclose(dw, [[0.4], [0.8], [1.2]], rtol=1e-5)  # Keras has a weight per row

# %% [markdown]
# ## A neuron with a sigmoid
#
# Linear neurons, however many, only compute straight lines. Passing their outputs through a curve changes that.
# The classic one is the sigmoid:
#
# $$\sigma(z) = \frac{1}{1 + e^{-z}} \qquad \sigma'(z) = \sigma(z) \, (1 - \sigma(z))$$
#
# It adds one link to the chain. Its derivative has a convenient form: once the output $a = \sigma(z)$ is
# known, the derivative is $a (1 - a)$, and no exponential has to be computed again. It is 0.25 at $z = 0$,
# its largest value, and only 0.006648 at $z = 5$.

# %%
z = np.array([0.0, 5.0])
sigmoid = Sigmoid()
a = sigmoid.forward(z)
slope = sigmoid.backward(np.ones(2))
print(f"outputs {a}, slopes {slope}")
np.testing.assert_allclose(slope, [0.25, 0.006648], rtol=1e-4)
np.testing.assert_allclose(slope, a * (1 - a))

# %% [markdown]
# ## What the decks get wrong
#
# ### A derivative that expects the sigmoid's output
#
# Slides A1, A11, B5 and D5 define or call a function named `sigmoid_derivative`, and its body is
# `x * (1 - x)`.
#
# > This is the sigmoid's derivative only if `x` is already an **output** of the sigmoid.
#
# Nothing in the name says so, and slide A11 does pass inputs to it. This is what happens:


# %%
def sigmoid_derivative(x):  # a misleading name: it expects an output of the sigmoid
    return x * (1 - x)


print("for the input 0:", sigmoid_derivative(0.0), "instead of 0.25")
print("for the input 5:", sigmoid_derivative(5.0), "instead of 0.006648")
print("for the outputs:", sigmoid_derivative(a))
assert (sigmoid_derivative(0.0), sigmoid_derivative(5.0)) == (0, -20)
np.testing.assert_allclose(sigmoid_derivative(a), slope)

# %% tags=["fold"]
z = np.linspace(-5, 5, 201)
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
forward = Sigmoid()
forward.forward(z)
charts.curve(axes, 0, z, forward.backward(np.ones_like(z)), "the sigmoid's derivative")
charts.curve(axes, 1, z, sigmoid_derivative(z), "z (1 - z), given an input")
axes.set_ylim(-2, 0.6)
charts.label_axes(axes, "z", "slope")
axes.legend(loc="lower left")
Image(
    charts.png(chart),
    alt="The sigmoid's derivative is a low bell; z (1 - z) is a parabola that falls below -2",
)

# %% [markdown]
# The true slope is never negative: a sigmoid only rises. The parabola is negative everywhere except between 0 and
# 1, so a network trained with it would step uphill. `Sigmoid` in this repository makes the mistake impossible: it
# keeps its own output for the backward pass ([activations.py](../shared/backprop/activations.py)).
#
# ### The target that is called an error
#
# Slide B4 computes the gradient of a linear neuron correctly: 0.4, 0.8 and 1.2.
#
# > The parameter that expects the target is called `error`.
#
# A reader who believes the name passes the error, 0.2, where the target, 0.5, is expected:


# %%
def gradient(error, output, x):  # `error` is subtracted from the output, so it must be the target
    return 2 * (output - error) * x


inputs = np.array([1.0, 2.0, 3.0])
right, wrong = gradient(0.5, 0.7, inputs), gradient(0.7 - 0.5, 0.7, inputs)
print(f"with the target: {right.round(10)}, with the error: {wrong.round(10)}")
np.testing.assert_allclose(right, [0.4, 0.8, 1.2])
np.testing.assert_allclose(wrong, 2.5 * right)

# %% [markdown]
# Every step would be 2.5 times as long as it should be, and with another target it might go the wrong way. In
# this repository, the arguments of a loss are `input` and `target`, as in PyTorch. Both mistakes are in the
# [errata](../docs/errata.md), with their tests.
#
# Slides A9 and B7 show the chain rule on $(x^2 + 1)^3$. Their results, 125 and 300, are right.

# %% [markdown]
# ## Checking a derivative
#
# A wrong derivative raises no error. The network still trains, only worse. So check every derivative that you
# write against a **finite difference**. There are two common ones:
#
# $$\frac{f(x + h) - f(x)}{h} \qquad\text{or}\qquad \frac{f(x + h) - f(x - h)}{2h}$$
#
# The second, the central difference, is far better. Its error shrinks with $h^2$, that of the first with
# $h$. But $h$ must not be too small either: the difference of two nearly equal numbers loses digits.

# %% tags=["fold"]
steps = 10.0 ** -np.arange(1, 13)
one_sided = abs((f(2 + steps) - f(2)) / steps - 300) / 300
central = abs((f(2 + steps) - f(2 - steps)) / (2 * steps) - 300) / 300
chart = charts.figure(size=(10, 5.2))
axes = chart.subplots()
charts.curve(axes, 0, steps, one_sided, "one-sided difference")
charts.curve(axes, 1, steps, central, "central difference")
axes.set_xscale("log")
axes.invert_xaxis()
charts.label_axes(axes, "step h (smaller to the right)", "relative error")
charts.log_scale(axes)
axes.legend()
Image(
    charts.png(chart),
    alt="Error against step: it falls until rounding takes over, and the central difference falls faster",
)


# %% [markdown]
# In numbers:


# %%
def relative_error(h):
    return abs((f(2 + h) - f(2 - h)) / (2 * h) - 300) / 300


for h in (1e-1, 1e-5, 1e-12):
    print(f"h = {h:.0e}: the central difference is wrong by {relative_error(h):.0e}")
assert relative_error(1e-5) < 1e-9 < relative_error(1e-12)
assert relative_error(1e-1) > 1e-3

# %% [markdown]
# A step near 1e-5 gives nine or ten correct digits in double precision, enough to expose any mistake in the
# code. In single precision, about three digits would be left, so do such checks in `float64`.
#
# `check` does this for every number in the inputs and the parameters of a layer. It also looks for the layer of
# this repository that computes the same.

# %%
rng = np.random.default_rng(0)
print(check(neuron, rng.standard_normal((4, 3))))
assert check(neuron, rng.standard_normal((4, 3))).ok

# %% [markdown]
# ## Exercises
#
# The solutions are in [solutions/lesson_01.py](solutions/lesson_01.py).
#
# > **1. Predict a number.** Let $g(x) = \sigma(3x - 1)^2$. Draw its graph with four operations. Compute the
# > values at $x = 1$ from left to right, and the derivatives from right to left. You need
# > $\sigma(2) = 0.8808$. The cell compares your result with a central difference.

# %%
prediction = None  # your number


def g(x):
    return 1 / (1 + np.exp(-(3 * x - 1))) ** 2


h = 1e-5
measured = (g(1 + h) - g(1 - h)) / (2 * h)
print("not answered yet" if prediction is None else f"you are off by {abs(prediction - measured):.4f}")

# %% [markdown]
# > **2. Write a backward pass.** The derivative of $\tanh(x)$ is $1 - \tanh^2(x)$. Fill in `backward`, and
# > run the check until everything agrees.


# %%
class MyTanh:
    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, dy):
        """Return dL/dx, given dy = dL/dy."""
        ...


print(check(MyTanh(), rng.standard_normal((4, 3))))

# %% [markdown]
# > **3. Find the mistake.** The forward pass of this neuron is right; its backward pass is not. All three gradients
# > are wrong: which line do they share? Repair it.


# %%
class Neuron:
    def __init__(self):
        self.w, self.b = np.array([0.1, -0.2, 0.3]), np.array(0.1)

    def forward(self, x):
        self.x = x
        self.a = 1 / (1 + np.exp(-(x @ self.w + self.b)))
        return self.a

    def backward(self, dy):
        dz = dy * (1 - self.a)
        self.dw, self.db = dz @ self.x, dz.sum()
        return np.outer(dz, self.w)


result = check(Neuron(), rng.standard_normal((4, 3)))
print(result)
assert not result.ok

# %% [markdown]
# ## What to remember
#
# - A derivative says how many times as much the result changes as the input does.
# - Along a path, multiply; where paths meet, add.
# - The forward pass keeps the values that the backward pass needs.
# - The sigmoid's derivative is $a (1 - a)$, where $a$ is its **output**.
# - Check every derivative with a central difference in `float64`.
#
# In the browser: after `make train-xor`, `make explore run=latest` writes
# [a page](../docs/usage.md#explore-a-network) that computes your network forward and backward. Append
# `#mode=backward&example=1&select=fc1.weight:0` to its address to see the chain rule for one of its weights,
# with the numbers of every path.
