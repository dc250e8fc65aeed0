"""Write a torch network as ONNX."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.onnx
from numpy.typing import NDArray
from torch import nn

from shared.errors import ConfigError


def onnx_bytes(
    network: nn.Module, batch: NDArray[Any], name: str, axes: Sequence[str], notes: Mapping[str, str]
) -> bytes:
    """Return the network, in evaluation mode, as an ONNX file that holds all of its weights.

    Args:
        network: maps one tensor to the logits.
        batch: an input of the network, with no free axis of size 0 or 1.
        name: what to call the input; the output is called `logits`.
        axes: names of the input's first axes, which are free to have any size.
        notes: metadata of the file.

    Raises:
        ConfigError: torch cannot export this network.
    """
    network.eval()
    inputs = torch.from_numpy(batch)
    if inputs.is_floating_point():
        inputs = inputs.to(next(network.parameters()).dtype)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it lists what it does not fold
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # deprecations inside torch
            program = torch.onnx.export(
                network,
                (inputs,),
                input_names=[name],
                output_names=["logits"],
                dynamic_shapes=(dict(enumerate(axes)),),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[-1]
        raise ConfigError(f"torch cannot write this network as ONNX: {reason}") from error
    assert program is not None
    proto = program.model_proto
    for part in (proto, proto.graph, *proto.graph.node):  # torch notes source files and lines there
        del part.metadata_props[:]
    for key, note in notes.items():
        proto.metadata_props.add(key=key, value=note)
    return bytes(proto.SerializeToString())
