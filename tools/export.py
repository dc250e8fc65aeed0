"""Write the network of a finished run to a file, and compare the two on the test set.

    python -m tools.export RUN [--format onnx|torch|keras] [--out FILE]

onnx (RUN/export.onnx): a torch network for onnxruntime and others; beside it, export.json has the
largest difference between the logits of the file and those of the network. torch (RUN/export.pt2): a
torch network as a program that torch.export.load reads. keras (RUN/export.keras): a Keras network that
keras.saving.load_model reads. None of the files needs this repository. If the data set is not at hand,
random inputs are compared.

exit status: 0 written, 2 a run that cannot be exported, 3 data missing or damaged, 5 written, but the
logits differ by more than rounding, 130 interrupted
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from shared.application import FinishedRun
from shared.data.examples import Examples
from shared.distributed import available_cores
from shared.errors import ConfigError, DataError
from shared.files import sha256_of
from shared.output_file import write_result
from shared.training.loop import EVALUATION_BATCH
from shared.training.losses import predicted_classes
from tools import cli
from tools.runs import RUN_HELP, open_run

# The largest allowed difference of two logits, relative to the largest logit. Both sides add the same
# products in another order, which costs some units in the last place (1.2e-7 in float32, 2.2e-16 in
# float64) for each layer or time step; a wrong layer changes the first digit.
TOLERANCE = {"float32": 1e-4, "float64": 1e-12}
GENERATED = 250  # inputs to compare if the data set is not at hand
NON_FINITE = 1e300  # stands in for NaN and infinity, which JSON lacks
TRACED_SIZES = (3, 7)  # of the axes that may have any size: torch would fix a size of 1
LOGITS = "logits: their softmax is the probability of each class"
ONE_LOGIT = "one logit: its sigmoid is the probability of the second class"


class Format(NamedTuple):
    """A kind of file: for networks of which framework, the end of its name, and what writes and reads it."""

    framework: str
    suffix: str
    packages: tuple[str, ...]


FORMATS = {
    "onnx": Format("torch", ".onnx", ("torch", "onnx", "onnxscript", "onnxruntime")),
    "torch": Format("torch", ".pt2", ("torch",)),
    "keras": Format("keras", ".keras", ("keras", "tensorflow")),
}

Logits = Callable[[NDArray[Any]], NDArray[np.float64]]  # of one batch


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = cli.parser("export", __doc__)
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--format", choices=FORMATS, default="onnx", help="default: onnx")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: RUN/export with the format's suffix"
    )
    arguments = parser.parse_args(words)
    return cli.run(lambda: export_run(arguments.run, arguments.out, arguments.format))


def export_run(run_name: str, out: Path | None, file_format: str) -> int:
    """Write the network of a run and print how it compares; return the exit status."""
    run = open_run(run_name)
    path = out or run.folder / f"export{FORMATS[file_format].suffix}"
    result = export(run, path, file_format)
    examples = "random inputs, without the data set" if result["generated"] else "test examples of"
    print(
        f"{path}: {path.stat().st_size / 1e6:.3g} MB\n"
        f"compared with the network on {result['test_examples']:,} {examples} "
        f"{result['dataset']}: logits differ by {result['largest_difference']:.2g} at most, "
        f"{result['relative_difference']:.1g} of the largest ({result['bound']:g} is allowed); "
        f"{result['classes_that_differ']:,} predicted classes differ"
    )
    if not result["agrees"]:
        print(f"error: {path} does not give the network's logits", file=sys.stderr)
        return cli.FAILED_CHECK
    return 0


def export(run: FinishedRun[Any], path: Path, file_format: str = "onnx") -> dict[str, Any]:
    """Write the network of a run to `path`, and how it compares to a JSON file beside it.

    Returns:
        The content of the JSON file.

    Raises:
        ConfigError: it is a run of another framework, its network cannot be written or executed in this
            format, or the file cannot be written. Nothing is left behind.
        DataError: weights are missing, damaged or have changed since; or an older run needs its data.
    """
    config, how, kind = run.config, run.application.export, FORMATS[file_format]
    if config.framework != kind.framework:
        fitting = [name for name, other in FORMATS.items() if other.framework == config.framework]
        advice = f"use --format {fitting[0]}" if fitting else "train again with framework=torch or keras"
        raise ConfigError(
            f"{run.folder} is a run of {config.framework}: only {kind.framework} networks can be exported as "
            f"{file_format}; {advice}"
        )
    if path.suffix != kind.suffix:
        raise ConfigError(f"{path}: the name must end in {kind.suffix}")
    if path.stem == "metrics":
        raise ConfigError(f"{path}: its report would replace metrics.json; choose another name")
    changes = {"device": "cpu"}  # where the file is run, too: a GPU rounds differently
    if config.trainer.precision == "bfloat16":  # the file gets the float32 weights: compare in float32, too
        changes["precision"] = "float32"
    trainer = config.trainer.model_copy(update=changes)
    run = replace(run, config=config.model_copy(update={"trainer": trainer}))
    examples, generated = examples_to_compare(run)
    notes = {  # in the file, for a reader who has nothing else
        "app": config.app,
        "model": run.metrics["model"],
        "weights_sha256": run.metrics["weights_sha256"],
        "dataset": run.metrics["dataset"],
        "input": how.describe(run),
        "output": LOGITS if run.learner.loss == "cross_entropy" else ONE_LOGIT,
        "classes": json.dumps(list(run.preprocessing.classes)),
    }
    first, free = examples.inputs[:1], len(how.axes)
    batch = np.resize(first, (*TRACED_SIZES[:free], *first.shape[free:]))
    network = how.prepare(run.learner.model, file_format)
    exported: Logits
    if file_format == "keras":
        from tools import keras_export

        content = keras_export.keras_bytes(network, notes)
        exported = keras_export.load_logits(content)
    else:
        from tools import torch_export

        if file_format == "onnx":
            content = torch_export.onnx_bytes(network, batch, how.input, how.axes, notes)
            exported = onnx_logits(content, config.trainer.threads)
        else:
            content = torch_export.program_bytes(network, batch, how.axes, notes)
            exported = torch_export.load_logits(content)
    result = {
        "file": path.name,
        f"{file_format}_sha256": sha256_of(content),
        **notes,
        "precision": run.config.trainer.precision,
        "dataset_sha256": run.metrics["dataset_sha256"],
        "generated": generated,
        **compare(run, examples, exported),
        "versions": {package: version(package) for package in kind.packages},
    }
    write_result(path, content)
    report = path.with_suffix(".json") if file_format == "onnx" else path.with_name(f"{path.name}.json")
    write_result(report, (json.dumps(result, indent=2, allow_nan=False) + "\n").encode())
    return result


def examples_to_compare(run: FinishedRun[Any]) -> tuple[Examples, bool]:
    """Return the test set of a run if its data is at hand, else random inputs; and whether they are random.

    Nothing is downloaded.

    Raises:
        DataError: the data is not at hand, and an older version recorded the run.
    """
    own, data = run.preprocessing, run.config.data
    keys = {"download": False} | ({} if run.metrics.get("embedded") else {"fallback": None})
    changes = {key: value for key, value in keys.items() if hasattr(data, key)}
    config = run.config.model_copy(update={"data": data.model_copy(update=changes)})
    try:
        return replace(run, config=config).test_examples(), False
    except DataError:
        if own.shape is None:
            raise
    random, shape = np.random.default_rng(0), (GENERATED, *own.shape)
    inputs: dict[str, Callable[[], NDArray[Any]]] = {
        "uint8": lambda: random.integers(0, 256, shape, np.uint8),  # pixels
        "int64": lambda: random.integers(1, len(own.vocabulary), shape),  # tokens, without padding
    }
    found = inputs.get(str(own.dtype), lambda: random.normal(size=shape).astype(own.dtype))()
    return Examples(found, np.zeros(GENERATED, np.int64)), True


def onnx_logits(content: bytes, threads: int | None) -> Logits:
    """Return the function that computes the logits of one batch with onnxruntime, on the CPU.

    Raises:
        ConfigError: onnxruntime cannot run this network; the function may raise it, too.
    """
    import onnxruntime  # type: ignore[import-untyped]

    def refusal(error: Exception) -> ConfigError:
        reason = str(error).strip().splitlines()[-1]
        return ConfigError(f"onnxruntime cannot run this network; nothing was written: {reason}")

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.log_severity_level = 4  # fatal: its errors are reported below
    try:
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        raise refusal(error) from error
    (given,) = session.get_inputs()
    dtypes = {"tensor(float)": np.float32, "tensor(double)": np.float64}

    def logits(inputs: NDArray[Any]) -> NDArray[np.float64]:
        try:
            (outputs,) = session.run(None, {given.name: inputs.astype(dtypes.get(given.type, inputs.dtype))})
        except Exception as error:
            raise refusal(error) from error
        return np.asarray(outputs, dtype=np.float64)

    return logits


def compare(run: FinishedRun[Any], examples: Examples, exported: Logits) -> dict[str, Any]:
    """Return how far the logits of the two are apart over all examples, and how many classes differ."""

    def all_logits(logits: Logits, name: str) -> NDArray[np.float64]:
        starts = track(
            range(0, len(examples), EVALUATION_BATCH),
            description=f"logits of {name}",
            transient=True,
            disable=not sys.stdout.isatty(),
        )
        return np.concatenate([logits(examples.inputs[first : first + EVALUATION_BATCH]) for first in starts])

    expected, found = all_logits(run.learner.logits, "the network"), all_logits(exported, "the file")
    found = np.nan_to_num(found, nan=NON_FINITE, posinf=NON_FINITE, neginf=-NON_FINITE)
    largest, difference = float(np.abs(expected).max()), float(np.abs(found - expected).max())
    loss, bound = run.learner.loss, TOLERANCE[run.config.trainer.precision]
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


if __name__ == "__main__":
    sys.exit(main())
