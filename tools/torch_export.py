"""Write a torch network as ONNX, or as a program that torch.export loads."""

import io
import itertools
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.export
import torch.onnx
from numpy.typing import NDArray
from torch import fx, nn
from torch.fx.experimental import _config as symbolic

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
    inputs = to_dtype(torch.from_numpy(batch), network)
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


def program_bytes(
    network: nn.Module, batch: NDArray[Any], axes: Sequence[str], notes: Mapping[str, str]
) -> bytes:
    """Return the network, in evaluation mode, as a .pt2 file; the arguments are those of `onnx_bytes`.

    Raises:
        ConfigError: torch cannot export this network.
    """
    inputs = to_dtype(torch.from_numpy(batch), network)
    dimensions = dict.fromkeys(range(len(axes)), torch.export.Dim.DYNAMIC)
    try:
        # Oblivious: what holds for the sizes of this batch is not taken to hold for all.
        with torch.no_grad(), symbolic.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
            program = torch.export.export(network.eval(), (inputs,), dynamic_shapes=(dimensions,))
    except Exception as error:  # its errors have no common class
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"torch.export cannot write this network: {reason}") from error
    program._guards_code = []  # some refuse a batch of one, which the network takes
    program.example_inputs = None  # they may be somebody's
    graphs = (part.graph for part in program.graph_module.modules() if isinstance(part, fx.GraphModule))
    for node in itertools.chain.from_iterable(graph.nodes for graph in graphs):
        node.meta.pop("stack_trace", None)  # source files and lines
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that share memory, on a GPU; these are compared
        torch.export.save(program, content, extra_files={"notes.json": json.dumps(notes)})
    return content.getvalue()


def load_logits(content: bytes) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
    """Return the function in the content of a .pt2 file: a batch, (N, ...), to logits."""
    run = torch.export.load(io.BytesIO(content)).module()

    def logits(batch: NDArray[Any]) -> NDArray[np.float64]:
        with torch.inference_mode():
            outputs: torch.Tensor = run(to_dtype(torch.from_numpy(batch), run))
        return outputs.double().numpy()

    return logits


def to_dtype(inputs: torch.Tensor, network: nn.Module) -> torch.Tensor:
    """Return inputs in the dtype of the network's weights; integers (word ids) stay integers."""
    return inputs.to(next(network.parameters()).dtype) if inputs.is_floating_point() else inputs
