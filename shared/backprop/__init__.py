"""Backpropagation written out in NumPy, without a framework.

Names, arguments, shapes and conventions are those of torch.nn and torch.optim. The docstring of a
layer gives its forward and backward formulas, and the code follows them line by line. Start with
`module.py` and `linear.py`.
"""

from shared.backprop.activations import GELU, ReLU, ReLU6, Sigmoid, Softmax, Tanh
from shared.backprop.attention import MultiheadAttention, ScaledDotProductAttention
from shared.backprop.bidirectional import Bidirectional
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

__all__ = ["Array", "Module", "NaNError", "Residual", "Sequential"]
__all__ += ["GELU", "ReLU", "ReLU6", "Sigmoid", "Softmax", "Tanh"]
__all__ += ["Dropout", "Embedding", "Flatten", "Linear", "MultiheadAttention", "ScaledDotProductAttention"]
__all__ += ["AdaptiveAvgPool2d", "AvgPool2d", "Conv2d", "MaxPool2d"]
__all__ += ["BatchNorm1d", "BatchNorm2d", "LayerNorm"]
__all__ += ["GRU", "LSTM", "RNN", "Bidirectional"]
__all__ += ["BCEWithLogitsLoss", "CrossEntropyLoss", "MSELoss", "l1_penalty", "l2_penalty"]
__all__ += ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "clip_grad_norm_", "clip_grad_value_"]
