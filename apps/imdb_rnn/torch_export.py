"""The networks in a form that torch can export to ONNX for texts of any length."""

import copy

import torch
from torch import nn

from apps.imdb_rnn.torch_model import TorchBow, TorchReader, TorchRecurrent

OPSET = 14  # the one that ONNX's layer `RNN` belongs to


def exportable(network: TorchReader) -> nn.Module:
    """Return an equivalent network that torch can export."""
    if isinstance(network, TorchBow):
        return EmbedThenRead(network)
    if isinstance(network, TorchRecurrent) and network.name != "lstm":
        network = copy.deepcopy(network)
        network.add_module(network.name, OnnxRnn(network.get_submodule(network.name)))
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
