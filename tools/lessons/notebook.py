"""Turn the text of a lesson into an executed notebook."""

import os
import re
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
LESSONS = ROOT / "lessons"
SECONDS = 300  # for one cell; far more than any needs
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",  # the same numbers on every machine
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": str(ROOT),
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class LessonError(Exception):
    """A lesson could not be executed to its end."""


def sources() -> list[Path]:
    """Return the sources of all lessons, in order."""
    return sorted(LESSONS.glob("[0-9]*.py"))


def read(source: Path) -> NotebookNode:
    """Return a lesson as a notebook without outputs, the same for the same text."""
    notebook = jupytext.read(source)
    notebook.metadata = METADATA
    for number, cell in enumerate(notebook.cells, start=1):
        cell["id"] = f"cell-{number}"
    return notebook


def execute(source: Path) -> NotebookNode:
    """Return a lesson as an executed notebook, without times and versions.

    Raises:
        LessonError: a cell failed (the message has its traceback) or took too long, or the kernel died.
    """
    notebook = read(source)
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(ROOT)}},
    )
    try:
        client.execute(env=os.environ | ENVIRONMENT)
    except CellExecutionError as error:
        trace = re.sub(r"\x1b\[[\d;]*m", "", str(error.traceback).rpartition("-" * 75)[2])
        raise LessonError(f"{source.name}: a cell failed:{trace}") from error
    except (CellTimeoutError, RuntimeError) as error:  # RuntimeError: the kernel died, or did not start
        raise LessonError(f"{source.name}: {str(error).splitlines()[0]}") from error
    notebook.metadata = METADATA
    return notebook
