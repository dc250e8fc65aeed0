"""Check a layer in a file of your own: `forward` and `backward`, in NumPy or torch.

    python -m tools.check file=my_layer.py:MyLayer                  tries inputs of usual shapes
    python -m tools.check file=my_layer.py:MyLayer input=4,3        a random input of this shape
    python -m tools.check file=my_loss.py:MyLoss input=4,3+4,3      two inputs

MyLayer is a class without required arguments, a layer, or an `autograd.Function`. Exit status: 0 if
everything agrees, 5 if something is wrong, 2 if the layer cannot be checked.
"""

import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import ConfigError
from shared.extras import check_module
from tools import cli
from tools.check import Result, check
from tools.check.observe import InputRefused, describe

SHAPES = ("4,3", "4,2", "2,3,6,6", "2,1,6,6", "4,5,3", "4,3+4,3")  # tried if no input is given


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = cli.parser("check", __doc__)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="file=FILE:LAYER, input=SHAPE")
    arguments = parser.parse_args(words)
    return cli.run(lambda: check_file(**cli.parse_keys(arguments.words, ["file", "input"])))


def check_file(file: str = "", input: str | None = None) -> int:  # noqa: A002
    """Check the layer FILE:LAYER and print what was found; return the exit status."""
    path, _, name = file.rpartition(":")
    if not path or not name.isidentifier():
        raise ConfigError("give the layer as file=my_layer.py:MyLayer")
    layer = load_layer(Path(path), name)
    result = try_shapes(layer) if input is None else check(layer, *random_inputs(input))
    print(result)
    return 0 if result.ok else cli.FAILED_CHECK


def load_layer(path: Path, name: str) -> Any:
    """Return the layer of a file; a class is called, unless it is an `autograd.Function`."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))  # as `python FILE` does, for the modules beside it
    sys.modules.setdefault(spec.name, module)  # a dataclass looks up its module
    try:
        spec.loader.exec_module(module)
        found = getattr(module, name)
        return found() if inspect.isclass(found) and not hasattr(found, "apply") else found
    except Exception as error:
        if isinstance(error, ModuleNotFoundError):
            check_module(error)
        raise ConfigError(f"cannot make {name} from {path}: {describe(error)}") from error


def random_inputs(text: str) -> list[Any]:
    """Return a random array for each shape: "4,3+4,3" are two of 4 x 3."""
    rng = np.random.default_rng(0)
    try:
        shapes = [tuple(int(size) for size in one.split(",")) for one in text.split("+")]
        return [rng.standard_normal(shape) for shape in shapes]
    except ValueError as error:
        raise ConfigError(f"cannot read input={text}: give a shape such as input=4,3") from error


def try_shapes(layer: Any) -> Result:
    """Return the check with the first input that `forward` accepts."""
    problems = []
    for shape in SHAPES:
        try:
            return check(layer, *random_inputs(shape))
        except InputRefused as error:
            problems.append(str(error))
    # One without a line was raised by the call itself: the number of inputs is wrong.
    problem = next((one for one in problems if "\n" in one), problems[0])
    raise ConfigError(f"{problem}\n  inputs tried: {'; '.join(SHAPES)}; input=SHAPE gives another")


if __name__ == "__main__":
    sys.exit(main())
