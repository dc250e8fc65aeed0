"""A network of PyTorch as ONNX."""

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
    network: nn.Module, example: NDArray[Any], name: str, axes: Sequence[str], notes: Mapping[str, str]
) -> bytes:
    """Return the network, in evaluation mode, as an ONNX file that has all of its weights.

    torch's own exporter: the one that follows `torch.export` (`dynamo=True`); the older one, which
    followed TorchScript, is deprecated.

    Args:
        network: takes one tensor, gives the logits.
        example: a batch that it takes; two examples or more, for torch fixes a size of 1.
        name: what to call the input; the output is called `logits`.
        axes: the names of its first axes, which may have any size.
        notes: what stands beside the graph.

    Raises:
        ConfigError: torch cannot write this network.
    """
    network.eval()
    own = next(network.parameters()).dtype
    inputs = torch.from_numpy(example)
    inputs = inputs.to(own) if inputs.is_floating_point() else inputs
    logger = logging.getLogger("onnxscript")  # says what it does not make smaller
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch's own, of its next versions
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
    finally:
        logger.setLevel(level)
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:  # torch notes the lines of code, and where they lie
        del node.metadata_props[:]
    for part in (proto, proto.graph):
        del part.metadata_props[:]
    for key, note in notes.items():
        proto.metadata_props.add(key=key, value=note)
    content: bytes = proto.SerializeToString()
    return content
