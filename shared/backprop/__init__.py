"""Backpropagation by hand, in NumPy and nothing else.

Names, arguments, shapes and meaning are those of torch.nn and torch.optim. A layer's docstring has
its formula, forward and backward, and its code follows it line by line. Start with `module.py`
and `linear.py`.
"""

from shared.backprop.activations import GELU, ReLU, Sigmoid, Softmax, Tanh
from shared.backprop.attention import MultiheadAttention, ScaledDotProductAttention
from shared.backprop.conv import AdaptiveAvgPool2d, AvgPool2d, Conv2d, MaxPool2d
from shared.backprop.linear import Dropout, Embedding, Flatten, Linear
from shared.backprop.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, l1_penalty, l2_penalty
from shared.backprop.module import Array, Module, NaNError, Residual, Sequential
from shared.backprop.norm import BatchNorm1d, BatchNorm2d, LayerNorm
from shared.backprop.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Optimizer,
    RMSprop,
    clip_grad_norm_,
    clip_grad_value_,
)
from shared.backprop.recurrent import GRU, LSTM, RNN

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdaptiveAvgPool2d",
    "Array",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "LayerNorm",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "MultiheadAttention",
    "NaNError",
    "Optimizer",
    "RMSprop",
    "ReLU",
    "Residual",
    "ScaledDotProductAttention",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "clip_grad_norm_",
    "clip_grad_value_",
    "l1_penalty",
    "l2_penalty",
]
