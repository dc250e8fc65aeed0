"""The network of a finished run as an ONNX file: what all `export.py` share.

The file is held against the network on the run's whole test set before it is written: onnxruntime
must give the same logits but for rounding.
"""

import argparse
import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from shared.cli import exit_status_of
from shared.config import AnyAppConfig
from shared.data.examples import Examples
from shared.errors import ConfigError
from shared.files import write_result
from shared.runs.environment import available_cores
from shared.runs.reader import read_config
from shared.training.loop import EVALUATION_BATCH
from shared.training.losses import predicted_classes
from tools.evaluate import Application, Finished, restored

DIFFERENT = 5  # exit status
# The largest difference of two logits, relative to the largest logit. Both sides add the same
# products up in another order. That costs some units of the last place (1.2e-7 in float32, 2.2e-16
# in float64) for each layer or time step; a wrong layer changes the first digit.
BOUNDS = {"float32": 1e-4, "float64": 1e-12}
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")
FAR = 1e300  # what stands for no number: JSON has none of these
SIZES = (3, 7)  # of the axes that may have any, in the batch that torch follows through the network

Logits = Callable[[NDArray[Any]], NDArray[np.float64]]  # of one batch


@dataclass(frozen=True)
class Export(Generic[AnyAppConfig]):
    """How an application's networks become files.

    Attributes:
        application: what it knows.
        input: the name of the input.
        axes: the names of the input's axes that may have any size.
        meaning: says what the input is, for those who have the file alone.
        written: takes the network, returns what can be written in its place.
    """

    application: Application[AnyAppConfig]
    input: str
    axes: tuple[str, ...]
    meaning: Callable[[Finished[AnyAppConfig]], str]
    written: Callable[[Any], Any] = lambda network: network


def exported(export: Export[AnyAppConfig], folder: Path, place: Path | None) -> tuple[dict[str, Any], Path]:
    """Write the network of the run in `folder`, and beside it how it compares.

    Args:
        export: how.
        folder: the run's.
        place: the file; RUN/export.onnx where it is None.

    Returns:
        What is in the JSON file beside it, and where the ONNX file is.

    Raises:
        ConfigError: there is no finished run in torch, its network cannot be written as ONNX or
            not be run by onnxruntime, or the file cannot be written. Nothing is left behind.
        DataError: data or weights are missing, damaged, or not what they were.
    """
    place = folder / "export.onnx" if place is None else place
    if place.suffix != ".onnx":
        raise ConfigError(f"{place}: the name must end in .onnx")
    run = restored(export.application, folder, exportable(export, folder))
    torch_export = importlib.import_module("tools.torch_export")
    examples = export.application.test_set(run.data, run.data, run.config)
    notes = described(export, run)
    content = torch_export.onnx_bytes(
        export.written(run.learner.model), example(examples, export), export.input, export.axes, notes
    )
    result = {
        "file": place.name,
        "onnx_sha256": hashlib.sha256(content).hexdigest(),
        **notes,
        "precision": run.config.trainer.precision,
        "dataset_sha256": run.data.sha256,
        **compared(run, examples, runtime(content, run.config.trainer.threads)),
        "versions": {package: version(package) for package in PACKAGES},
    }
    write_result(place, content)
    report = json.dumps(result, indent=2, allow_nan=False) + "\n"
    write_result(place.with_suffix(".json"), report.encode())
    return result, place


def exportable(export: Export[AnyAppConfig], folder: Path) -> AnyAppConfig:
    """Return the configuration of the run in `folder`, in a precision that ONNX has.

    Weights are float32 where a run has computed in bfloat16: so are the exported ones, and what
    they are held against computes in float32 as well.

    Raises:
        ConfigError: there is no run, or one of another framework.
    """
    config = read_config(folder, export.application.config)
    if config.framework != "torch":
        raise ConfigError(
            f"{folder} is a run of {config.framework}: only torch's are exported; train again with "
            "framework=torch"
        )
    wide = "float64" if config.trainer.precision == "float64" else "float32"
    trainer = config.trainer.model_copy(update={"precision": wide})
    return config.model_copy(update={"trainer": trainer})


def described(export: Export[AnyAppConfig], run: Finished[AnyAppConfig]) -> dict[str, str]:
    """Return what stands in the file, for those who have it alone."""
    one = run.learner.loss != "cross_entropy"
    return {
        "app": run.config.app,
        "model": run.metrics["model"],
        "weights_sha256": run.metrics["weights_sha256"],
        "dataset": run.metrics["dataset"],
        "input": export.meaning(run),
        "output": "one logit: its sigmoid is the probability of the second class"
        if one
        else "logits: their softmax is the probability of each class",
        "classes": json.dumps(list(getattr(run.data, "classes", ("0", "1")))),
    }


def example(examples: Examples, export: Export[AnyAppConfig]) -> NDArray[Any]:
    """Return a batch of the kind that the network takes, of no size that is 0 or 1."""
    one = examples.inputs[:1]
    sizes = SIZES[: len(export.axes)]
    return np.resize(one, (*sizes, *one.shape[len(sizes) :]))


def runtime(content: bytes, threads: int | None) -> Logits:
    """Return what computes the logits of one batch by onnxruntime, on the processor.

    Raises:
        ConfigError: it cannot run this network; so does what is returned.
    """
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.log_severity_level = 4  # what ends it is said below
    try:
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise _not_run(error) from error
    (given,) = session.get_inputs()
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64}

    def logits(inputs: NDArray[Any]) -> NDArray[np.float64]:
        try:
            batch = inputs.astype(kinds.get(given.type, inputs.dtype))
            (outputs,) = session.run(None, {given.name: batch})
        except Exception as error:
            raise _not_run(error) from error
        return np.asarray(outputs, dtype=np.float64)

    return logits


def _not_run(error: Exception) -> ConfigError:
    reason = str(error).strip().splitlines()[-1]
    return ConfigError(f"onnxruntime cannot run this network, and nothing is written: {reason}")


def compared(run: Finished[AnyAppConfig], examples: Examples, other: Logits) -> dict[str, Any]:
    """Return how far the logits of all examples are apart, and how many classes differ."""
    expected, found = (in_batches(one, examples) for one in (run.learner.logits, other))
    found = np.nan_to_num(found, nan=FAR, posinf=FAR, neginf=-FAR)
    largest, difference = float(np.abs(expected).max()), float(np.abs(found - expected).max())
    loss, bound = run.learner.loss, BOUNDS[run.config.trainer.precision]
    differ = predicted_classes(loss, found) != predicted_classes(loss, expected)
    return {
        "test_examples": len(examples),
        "largest_logit": largest,
        "largest_difference": difference,
        "relative_difference": difference / largest if largest else difference,
        "bound": bound,
        "classes_that_differ": int(differ.sum()),
        "agrees": difference <= bound * largest,
    }


def in_batches(logits: Logits, examples: Examples) -> NDArray[np.float64]:
    """Return the logits of all examples, (N, outputs)."""
    starts = range(0, len(examples), EVALUATION_BATCH)
    return np.concatenate([logits(examples.inputs[start : start + EVALUATION_BATCH]) for start in starts])


def said(result: dict[str, Any]) -> str:
    """Return a line on how the file compares."""
    return (
        f"held against the network on {result['test_examples']:,} test examples of "
        f"{result['dataset']}: logits differ by {result['largest_difference']:.2g} at most, "
        f"{result['relative_difference']:.1g} of the largest ({result['bound']:g} is allowed); "
        f"{result['classes_that_differ']:,} predicted classes differ"
    )


def main(export: Export[AnyAppConfig], program: str, words: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        description="The network of a finished run in torch as an ONNX file, held against the "
        "network on its test set.",
        epilog="exit status: 0 written; 5 written, but it does not give the network's logits; "
        "2 what cannot be exported; 3 data missing or damaged",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: RUN/export.onnx; a JSON file beside it"
    )
    arguments = parser.parse_args(words)
    statuses = [0]

    def action() -> None:
        result, place = exported(export, arguments.run, arguments.out)
        print(f"{place}: {place.stat().st_size / 1e6:.1f} MB\n{said(result)}")
        if not result["agrees"]:
            print(f"error: {place} does not give the network's logits", file=sys.stderr)
            statuses[0] = DIFFERENT

    return exit_status_of(action) or statuses[0]
