"""Faults planted in copies of `shared/backprop`, each of which a check must find."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tools.gradcheck.checks import first_failure
from tools.gradcheck.copies import copy_of_backprop, source


@dataclass(frozen=True)
class Fault:
    """A change in a file: `old`, which occurs once, becomes `new`.

    Attributes:
        layer: whose check must find it.
        quantity: what the message must name.
        kind: in a few words.
    """

    file: str
    layer: str
    quantity: str
    kind: str
    old: str
    new: str

    @property
    def identity(self) -> str:
        """A name for lists of tests."""
        return f"{self.layer}: {self.kind}"


def caught(fault: Fault) -> list[str]:
    """Return what the check of the layer says about a copy with the fault; nothing: not found."""
    text = source(fault.file)
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.file} has {text.count(fault.old)} times: {fault.old}")
    changed = {fault.file: text.replace(fault.old, fault.new)}
    with copy_of_backprop(changed) as library, np.errstate(all="ignore"):
        return first_failure(fault.layer, library)


def names_it(fault: Fault, messages: list[str]) -> bool:
    """Whether a message names the layer and the quantity."""
    return any(one.startswith(f"{fault.layer}: {fault.quantity}") for one in messages)


def _in_file(file: str, *rows: tuple[str, str, str, str, str]) -> Iterator[Fault]:
    for row in rows:
        yield Fault(file, *row)


FAULTS = [
    *_in_file(
        "module.py",
        ("Residual", "dx", "the shortcut's gradient left out", "return dx + passed", "return dx"),
        ("Residual", "dx", "a sign", "return dx + passed", "return dx - passed"),
        ("Residual", "y", "the body alone", "return y + passed", "return y"),
        (
            "Residual",
            "dbody.0.weight",
            "the gradients inside are not taken over",
            "else dy\n        self._collect()",
            "else dy",
        ),
        (
            "Sequential",
            "d0.weight",
            "the gradients inside are not taken over",
            "dy = layer.backward(dy)\n        self._collect()",
            "dy = layer.backward(dy)",
        ),
        (
            "Sequential",
            "ValueError: Tanh: expected the gradient of the output",
            "forward order on the way back",
            "reversed(self.children.values())",
            "self.children.values()",
        ),
        ("Linear", "NaN in the input", "NaN let in", "np.isnan(x.min())", "np.isnan(x.size)"),
        (
            "Linear",
            "dy of another shape",
            "dy not checked",
            'self._check("the gradient of the output", dy, self._output.shape, self._output.dtype)',
            "pass",
        ),
        ("Dropout", "y", "evaluation mode ignored", "self.training = mode", "self.training = True"),
    ),
    *_in_file(
        "linear.py",
        (
            "Linear",
            "dweight",
            "wrong by 0.05 %",
            "rows.T @ x.reshape(-1, self.in_features)",
            "1.0005 * (rows.T @ x.reshape(-1, self.in_features))",
        ),
        (
            "Linear",
            "dweight",
            "transposed",
            "rows.T @ x.reshape(-1, self.in_features)",
            "x.reshape(-1, self.in_features).T @ rows",
        ),
        (
            "Linear",
            "dx",
            "the weight transposed",
            'return dy @ self.params["weight"]',
            'w = self.params["weight"]\n        return dy @ (w.T if w.shape[0] == w.shape[1] else w)',
        ),
        (
            "Linear",
            "dx",
            "zeros",
            'return dy @ self.params["weight"]',
            'return 0 * (dy @ self.params["weight"])',
        ),
        ("Linear", "dbias", "left out", 'self.grads["bias"] = rows.sum(axis=0)', "pass"),
        ("Linear", "dbias", "the mean for the sum", "rows.sum(axis=0)", "rows.mean(axis=0)"),
        (
            "Linear",
            "dweight",
            "adds up",
            'self.grads["weight"] = rows.T',
            'self.grads["weight"] = self.grads.get("weight", 0) + rows.T',
        ),
        (
            "Linear",
            "y",
            "float64 leaks into float32",
            "y = x @ weight.T\n",
            "y = x @ weight.T.astype(np.result_type(weight, np.float64))\n",
        ),
        (
            "Linear",
            "input x",
            "the input changed in place",
            "y = x @ weight.T\n",
            "y = x @ weight.T\n        x += 1\n",
        ),
        ("Embedding", "dweight", "an index counts once", "np.add.reduceat(rows, starts)", "rows[starts]"),
        ("Embedding", "dweight", "padding_idx ignored", "gradient[self.padding_idx] = 0", "pass"),
        (
            "Embedding",
            "an index beyond the table",
            "off by one in the check",
            "x.max() < self.num_embeddings",
            "x.max() <= self.num_embeddings",
        ),
        (
            "Dropout",
            "y",
            "the factor left out",
            "np.asarray(1 / (1 - self.p), x.dtype)",
            "np.asarray(1, x.dtype)",
        ),
        ("Dropout", "y", "the mask inverted", "factor = mask *", "factor = ~mask *"),
        (
            "Dropout",
            "dx",
            "the mask forgotten on the way back",
            "return dy if factor is None else dy * factor",
            "return dy",
        ),
        (
            "Dropout",
            "gradient of y",
            "the gradient changed in place",
            "return dy if factor is None else dy * factor",
            "dy *= 1 if factor is None else factor\n        return dy",
        ),
        ("Flatten", "dx", "another order", "return dy.reshape(shape)", 'return dy.reshape(shape, order="F")'),
    ),
    *_in_file(
        "activations.py",
        ("ReLU", "dx", "a gradient at 0", "np.where(x > 0, dy, 0)", "np.where(x >= 0, dy, 0)"),
        ("Sigmoid", "dx", "a factor left out", "return dy * y * (1 - y)", "return dy * (1 - y)"),
        ("Tanh", "dx", "a square left out", "(1 - y * y)", "(1 - y)"),
        (
            "Tanh",
            "gradient of y",
            "the gradient changed in place",
            "return dy * (1 - y * y)",
            "dy *= 1 - y * y\n        return dy",
        ),
        ("GELU", "dx", "a factor left out", "np.exp(-x * x / 2)", "np.exp(-x * x)"),
        ("GELU", "dx", "the tanh form's slope", "slope = 2 * phi", "slope = phi"),
        ("GELU", "y", "a constant with a digit too few", "0.044715 * x**3", "0.0447 * x**3"),
        ("Softmax", "dx", "the sum left out", "y * (dy - (dy * y).sum(axis=dim, keepdims=True))", "y * dy"),
        (
            "Softmax",
            "dx",
            "over the last axis always",
            "return softmax_backward(dy, y, self.dim)",
            "return softmax_backward(dy, y)",
        ),
    ),
    *_in_file(
        "losses.py",
        (
            "MSELoss",
            "dinput",
            "the 2 left out",
            "2 * difference, difference.size",
            "difference, difference.size",
        ),
        (
            "MSELoss",
            "y",
            "the mean over the rows",
            "2 * difference, difference.size",
            "2 * difference, len(difference)",
        ),
        (
            "MSELoss",
            "argument target",
            "the target changed in place",
            "difference = input - target",
            "difference = input - target\n        target *= 0",
        ),
        (
            "BCEWithLogitsLoss",
            "dinput",
            "a sign",
            "sigmoid(input) - target, input.size",
            "target - sigmoid(input), input.size",
        ),
        ("CrossEntropyLoss", "y", "the mean over the ignored as well", "int(counted.sum())", "counted.size"),
        (
            "CrossEntropyLoss",
            "y",
            "label smoothing over the other classes",
            "self.label_smoothing / classes)",
            "self.label_smoothing / (classes - 1))",
        ),
        (
            "CrossEntropyLoss",
            "dinput",
            "the ignored have a gradient",
            "np.exp(log_p) * counted[:, None] - q",
            "np.exp(log_p) - q",
        ),
        (
            "CrossEntropyLoss",
            "y",
            "sum and mean confused",
            'if self.reduction == "mean" else 1',
            'if self.reduction == "sum" else 1',
        ),
        ("CrossEntropyLoss", "labels that are all ignored", "accepted", "if not counted.any():", "if False:"),
        (
            "CrossEntropyLoss",
            "dinput",
            "dy forgotten",
            "np.asarray(dy / count, gradient.dtype)",
            "np.asarray(1 / count, gradient.dtype)",
        ),
        ("l1_penalty", "dw", "the size for the sign", "np.sign(w)", "np.abs(w)"),
        (
            "l2_penalty",
            "dw",
            "half of it",
            "w.dtype.type(factor) * w for",
            "w.dtype.type(factor / 2) * w for",
        ),
        (
            "l2_penalty",
            "y",
            "the formulas swapped",
            'if formula == "torch" else 2 * strength',
            'if formula == "keras" else 2 * strength',
        ),
    ),
    *_in_file(
        "threads.py",
        (
            "Conv2d",
            "dweight",
            "the last image left out",
            "[count * number // threads",
            "[(count - 1) * number // threads",
        ),
        (
            "Conv2d",
            "y",
            "the first image left out",
            "itertools.pairwise(ends)",
            "itertools.pairwise([1, *ends[1:]])",
        ),
    ),
    *_in_file(
        "conv.py",
        (
            "Conv2d",
            "dweight",
            "wrong by 0.05 %",
            "= transposed.swapaxes(1, 2)",
            "= 1.0005 * transposed.swapaxes(1, 2)",
        ),
        (
            "Conv2d",
            "dbias",
            "summed over the images only",
            "dy.sum(axis=(0, 2, 3))",
            "dy[:, :, 0, 0].sum(axis=0)",
        ),
        (
            "Conv2d",
            "y",
            "dilation ignored",
            "::sh, ::sw, ::dh, ::dw]",
            "::sh, ::sw, : self.kernel_size[0], : self.kernel_size[1]]",
        ),
        (
            "Conv2d",
            "y",
            "windows off by one column",
            "= windows[:, :, ::sh, ::sw, ::dh, ::dw]",
            "= np.roll(windows, 1, 3)[:, :, ::sh, ::sw, ::dh, ::dw]",
        ),
        (
            "AvgPool2d",
            "y",
            "the stride's rows and columns swapped",
            "i : i + bottom : sh, j : j + right : sw]",
            "i : i + bottom : sw, j : j + right : sh]",
        ),
        (
            "Conv2d",
            "y",
            "the kernel mirrored",
            "(self._weight_matrix() @ matrix",
            "(self._weight_matrix()[..., ::-1] @ matrix",
        ),
        (
            "Conv2d",
            "dx",
            "overlapping windows not summed",
            "pixels += dwindows[images, :, position]",
            "pixels[...] = dwindows[images, :, position]",
        ),
        (
            "Conv2d",
            "dx",
            "off by one in the padding",
            "padded[:, :, ph : height - ph, pw : width - pw]",
            "padded[:, :, max(ph - 1, 0) : height - ph - min(ph, 1), pw : width - pw]",
        ),
        (
            "Conv2d",
            "dx",
            "float64 leaks into float32",
            "dwindows = dmatrix",
            "dy = dy.astype(np.float64)\n        dwindows = dmatrix",
        ),
        ("MaxPool2d", "y", "padding with zeros", "self._padded(x, -np.inf)", "self._padded(x)"),
        ("MaxPool2d", "dx", "of equal ones the last", "larger = pixels > y", "larger = pixels >= y"),
        (
            "AvgPool2d",
            "y",
            "count_include_pad inverted",
            "float(self.count_include_pad)",
            "float(not self.count_include_pad)",
        ),
        ("AvgPool2d", "dx", "not divided", "pixels += dy / n", "pixels += dy"),
        (
            "AdaptiveAvgPool2d",
            "dx",
            "divided by the rows only",
            "np.asarray(shape[2] * shape[3], dy.dtype)",
            "np.asarray(shape[2], dy.dtype)",
        ),
    ),
    *_in_file(
        "norm.py",
        ("BatchNorm1d", "running_var", "the biased variance", "(var * (count / (count - 1))", "(var"),
        (
            "BatchNorm2d",
            "y",
            "the unbiased variance",
            "var = (centerd * centerd).mean(axis=axes)",
            "var = (centerd * centerd).sum(axis=axes) / (count - 1)",
        ),
        (
            "BatchNorm1d",
            "running_mean",
            "momentum the other way round",
            "running_mean += self.momentum *",
            "running_mean += (1 - self.momentum) *",
        ),
        (
            "BatchNorm2d",
            "y",
            "eps outside of the root",
            "1 / np.sqrt(var + self.eps)",
            "1 / (np.sqrt(var) + self.eps)",
        ),
        (
            "BatchNorm2d",
            "dx",
            "the mean of dy left out",
            "dy - dy.mean(axis=axes, keepdims=True) - along",
            "dy - along",
        ),
        ("BatchNorm1d", "dweight", "without xhat", "(dy * xhat).sum(axis=axes)", "dy.sum(axis=axes)"),
        ("BatchNorm1d", "dx", "the batch's formula in evaluation", "if training:", "if True:"),
        (
            "BatchNorm1d",
            "num_batches_tracked",
            "not counted",
            'self.buffers["num_batches_tracked"] += 1',
            "pass",
        ),
        (
            "LayerNorm",
            "dx",
            "gamma forgotten",
            'np.asarray(dy * self.params.get("weight", 1), ',
            "np.asarray(dy, ",
        ),
        (
            "LayerNorm",
            "y",
            "eps outside of the root",
            "1 / np.sqrt((centerd * centerd).mean(axis=axes, keepdims=True) + self.eps)",
            "1 / (np.sqrt((centerd * centerd).mean(axis=axes, keepdims=True)) + self.eps)",
        ),
        (
            "LayerNorm",
            "dbias",
            "over the normalized axes",
            "dy.sum(axis=others)",
            "np.full(self.normalized_shape, dy.mean(), dy.dtype)",
        ),
    ),
    *_in_file(
        "recurrent.py",
        ("RNN", "dx", "a square left out", "dz = dh * (1 - h * h)", "dz = dh * (1 - h)"),
        (
            "RNN",
            "dweight_hh_l0",
            "the state after the step",
            "before[t] = state[0]",
            "before[t] = state[0] * (t > 0)",
        ),
        ("RNN", "dbias_hh_l0", "a step left out", "dv_rows.sum(axis=0)", "dv[1:].sum(axis=(0, 1))"),
        ("RNN", "y", "the output of what is padded", "state[0] * valid[t]", "state[0]"),
        (
            "LSTM",
            "y",
            "the gates f and i swapped",
            "i, f, g, o = np.split(u + v, 4, axis=1)",
            "f, i, g, o = np.split(u + v, 4, axis=1)",
        ),
        (
            "LSTM",
            "dx",
            "the gradient of the gate o left out",
            "do, di, dg, df = dh * tanh_c,",
            "do, di, dg, df = dh * 0,",
        ),
        (
            "LSTM",
            "dc0",
            "the cell's gradient not passed on",
            "return dz, dz, (np.zeros_like(dh), dc * f)",
            "return dz, dz, (np.zeros_like(dh), np.zeros_like(dc))",
        ),
        ("LSTM", "dx", "the gradient of c_n forgotten", "dc = dc + dh * o", "dc = dh * o"),
        (
            "GRU",
            "y",
            "the gates r and z swapped",
            "r, z = sigmoid(u_r + v_r), sigmoid(u_z + v_z)",
            "z, r = sigmoid(u_r + v_r), sigmoid(u_z + v_z)",
        ),
        (
            "GRU",
            "dweight_hh_l0",
            "the reset gate left out on the way back",
            "[dr, dz, dn * r]",
            "[dr, dz, dn]",
        ),
        (
            "GRU",
            "y",
            "lengths off by one",
            "np.arange(steps)[:, None] < lengths",
            "np.arange(steps)[:, None] <= lengths",
        ),
        ("GRU", "dx", "lengths ignored on the way back", "du[t] *= valid[t]", "pass"),
        (
            "GRU",
            "dx",
            "the past cut off",
            'dv[t] @ self.params["weight_hh_l0"], *dstate[1:]',
            '0 * dv[t] @ self.params["weight_hh_l0"], *dstate[1:]',
        ),
        ("GRU", "a length of 0", "accepted", "lengths.min() < 1", "lengths.min() < 0"),
    ),
    *_in_file(
        "attention.py",
        ("ScaledDotProductAttention", "y", "not scaled", "query.shape[-1] ** -0.5", "1.0"),
        (
            "ScaledDotProductAttention",
            "y",
            "the mask inverted",
            "np.where(self._mask(mask, scores.shape), scores, -np.inf)",
            "np.where(self._mask(mask, scores.shape), -np.inf, scores)",
        ),
        (
            "ScaledDotProductAttention",
            "dquery",
            "the scale forgotten on the way back",
            "softmax_backward(dweights, weights) * scale",
            "softmax_backward(dweights, weights)",
        ),
        (
            "ScaledDotProductAttention",
            "dvalue",
            "transposed",
            "dvalue = weights.swapaxes(-1, -2) @ dy",
            "dvalue = (weights if weights.shape[-1] == weights.shape[-2] else weights.swapaxes(-1, -2)) @ dy",
        ),
        (
            "ScaledDotProductAttention",
            "a row that is all masked",
            "accepted",
            "if not mask.any(axis=-1).all():",
            "if not mask.any():",
        ),
        (
            "MultiheadAttention",
            "din_proj_bias",
            "left out",
            'self.grads["in_proj_bias"] = np.concatenate([dhead.sum(axis=0) for dhead in rows])',
            "pass",
        ),
        (
            "MultiheadAttention",
            "y",
            "the heads lie the other way",
            "x.reshape(*x.shape[:2], self.num_heads, -1).swapaxes(1, 2)",
            "x.reshape(*x.shape[:2], -1, self.num_heads).transpose(0, 3, 1, 2)",
        ),
        (
            "MultiheadAttention",
            "weights",
            "the sum over the heads",
            "self.attention.weights.mean(axis=1)",
            "self.attention.weights.sum(axis=1)",
        ),
        (
            "MultiheadAttention",
            "dkey",
            "the query's matrix for all",
            "dhead @ matrix if self.batch_first else (dhead @ matrix).swapaxes(0, 1)",
            "dhead @ matrices[0] if self.batch_first else (dhead @ matrices[0]).swapaxes(0, 1)",
        ),
    ),
    *_in_file(
        "optimizers.py",
        ("SGD", "w after step 2", "the state not kept", 'state["v"] = v\n', "pass\n"),
        (
            "SGD",
            "w after step 1",
            "dampening in the first step",
            "v = g.copy() if self.t == 1 else self.momentum",
            "v = self.momentum",
        ),
        (
            "SGD",
            "w after step",
            "Keras's Nesterov forgotten",
            "self.momentum * v - self.lr * g if self.nesterov else v",
            "v",
        ),
        (
            "SGD",
            "w after step 1",
            "weight decay with the other sign",
            "g = g + self.weight_decay * w",
            "g = g - self.weight_decay * w",
        ),
        (
            "RMSprop",
            "w after step 1",
            "eps inside the root",
            "np.sqrt(v + self.eps) if self.keras else np.sqrt(v) + self.eps",
            "np.sqrt(v + self.eps)",
        ),
        ("RMSprop", "w after step", "centered forgotten", "v = v - m * m", "pass"),
        (
            "RMSprop",
            "w after step 2",
            "the momentum not kept",
            'b = state["b"] = self.momentum',
            "b = self.momentum",
        ),
        (
            "RMSprop",
            "w after step 1",
            "the learning rate twice in Keras's formula",
            "return -b if self.keras else -self.lr * b",
            "return -self.lr * b",
        ),
        (
            "Adagrad",
            "w after step",
            "eps outside of the root in Keras's formula",
            "-self.lr * g / np.sqrt(v + self.eps)",
            "-self.lr * g / (np.sqrt(v) + self.eps)",
        ),
        (
            "Adam",
            "w after step 1",
            "the root left out in Keras's formula",
            "-self.lr * root / (1",
            "-self.lr / (1",
        ),
        (
            "Adagrad",
            "w after step 2",
            "lr_decay a step early",
            "(self.t - 1) * self.lr_decay",
            "self.t * self.lr_decay",
        ),
        (
            "Adagrad",
            "w after step 2",
            "the state not kept",
            'v = state["v"] = state["v"] + g * g',
            'v = state["v"] + g * g',
        ),
        ("Adam", "w after step 1", "no bias correction", "-self.lr / (1 - b1**self.t) * m", "-self.lr * m"),
        ("Adam", "w after step 1", "beta 1 and 2 swapped", "b1, b2 = self.betas", "b2, b1 = self.betas"),
        (
            "Adam",
            "w after step",
            "eps wrong by the root",
            "(np.sqrt(v) / root + self.eps)",
            "(np.sqrt(v) + self.eps) * (1 / root)",
        ),
        ("AdamW", "w after step 1", "weight decay in the gradient", "decoupled = True", "decoupled = False"),
        (
            "AdamW",
            "w after step 1",
            "weight decay without the learning rate",
            "w -= self.lr * self.weight_decay * w",
            "w -= self.weight_decay * w",
        ),
        ("clip_grad_norm_", "norm", "the root left out", ") ** 0.5\n    if not", ")\n    if not"),
        ("clip_grad_norm_", "dw", "gradients made larger", ">= 1:", "< 0:"),
        ("clip_grad_norm_", "dw", "1e-6 left out", "(norm + 1e-6)", "norm"),
        (
            "clip_grad_value_",
            "dw",
            "one side only",
            "-clip_value, clip_value, out=g",
            "None, clip_value, out=g",
        ),
    ),
]
