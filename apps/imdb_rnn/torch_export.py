"""The networks in a form that torch can export for texts of any length."""

import copy

import torch
from torch import nn
from torch._higher_order_ops.scan import scan  # torch has no public name for it yet

from apps.imdb_rnn.torch_model import PaddedBiLSTM, TorchBow, TorchReader, TorchRecurrent

OPSET = 14  # the one that ONNX's layer `RNN` belongs to


def exportable(network: TorchReader, file_format: str) -> nn.Module:
    """Return an equivalent network that torch can export, as `onnx` or as a program of `torch`."""
    if isinstance(network, TorchBow):
        return EmbedThenRead(network)
    if isinstance(network, TorchRecurrent) and (file_format == "torch" or "lstm" not in network.name):
        network = copy.deepcopy(network)
        layer = network.get_submodule(network.name)
        if isinstance(layer, PaddedBiLSTM):
            layer.direction = lambda x, weights: scanned_states(x, *weights)  # type: ignore[method-assign]
        else:
            network.add_module(network.name, OnnxRnn(layer) if file_format == "onnx" else ScannedRnn(layer))
    return network


class EmbedThenRead(nn.Module):
    """A bag of words that embeds and then reads; ids (N, T) to logits (N, outputs).

    ONNX has no `embedding_bag`: torch would write a loop over the texts.
    """

    def __init__(self, network: TorchReader) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return what the network returns."""
        return self.network.read(self.network.embed(ids), ids)


class OnnxRnn(nn.Module):
    """ONNX's own layer instead of `torch.nn.RNN`, which torch exports step by step.

    It can only be exported: executed, it returns zeros.
    """

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the states (N, T, hidden) of inputs (N, T, embedding), and None for the last state."""
        parameter = self.rnn.get_parameter
        biases = torch.cat([parameter("bias_ih_l0"), parameter("bias_hh_l0")])
        size = parameter("weight_hh_l0").shape[0]
        weights = (parameter("weight_ih_l0")[None], parameter("weight_hh_l0")[None], biases[None])
        states = torch.onnx.ops.symbolic(
            "RNN",
            (x.transpose(0, 1), *weights),
            {"hidden_size": size},
            dtype=x.dtype,
            shape=(x.shape[1], 1, x.shape[0], size),
            version=OPSET,
        )
        return states[:, 0].transpose(0, 1), None


class ScannedRnn(nn.Module):
    """An LSTM or RNN as one loop over the steps; torch.export writes torch's own layers step by step."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the states (N, T, hidden) of inputs (N, T, embedding), and None for the last state."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return scanned_states(x, *(self.rnn.get_parameter(name) for name in names)), None


def scanned_states(
    x: torch.Tensor, w_ih: torch.Tensor, w_hh: torch.Tensor, b_ih: torch.Tensor, b_hh: torch.Tensor
) -> torch.Tensor:
    """Return the states (N, T, hidden) of an LSTM or RNN with these weights."""
    (rows, hidden), inputs = w_hh.shape, x @ w_ih.T + b_ih + b_hh
    is_lstm = rows == 4 * hidden

    def step(
        state: tuple[torch.Tensor, ...], given: torch.Tensor
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        gates = given + state[0] @ w_hh.T
        if is_lstm:
            i, f, g, o = gates.chunk(4, dim=1)
            cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
            state = (o.sigmoid() * cell.tanh(), cell)
        else:
            state = (gates.tanh(),)
        return state, state[0].clone()

    start = tuple(x.new_zeros(x.shape[0], hidden) for _ in range(1 + is_lstm))
    _, states = scan(step, start, inputs, dim=1)
    return states
