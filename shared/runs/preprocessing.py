"""What prediction and export need to know of the data that a finished run was trained on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from shared.config import Positive, Section
from shared.errors import DataError
from shared.files import sha256_of
from shared.input_file import read_verified
from shared.runs.folder import RunFolder

VOCABULARY = "vocabulary.txt"


class Preprocessing(Section):
    """What the inputs and the classes of a network mean.

    A run folder has it in metrics.json (`classes`, `preprocessing`) and vocabulary.txt; config.yaml has
    the rest: size of pictures, length of texts.
    """

    name: str  # of the data set
    classes: Sequence[str]
    vocabulary: Sequence[str] = ()  # the token of each id
    mean_and_std: tuple[float, Positive] = (0.0, 1.0)  # of the training inputs, to standardize inputs by
    shape: list[int] | None = None  # of one input of the network
    dtype: Literal["float32", "float64", "int64", "uint8"] | None = None


def write_vocabulary(run: RunFolder, data: Any) -> None:
    """Write the vocabulary of a data set into the run folder, a token per line: the first is token 0."""
    run.write(VOCABULARY, data.vocabulary_file)
    run.metrics["vocabulary_sha256"] = sha256_of(data.vocabulary_file)


def read_preprocessing(folder: Path, metrics: dict[str, Any]) -> Preprocessing | None:
    """Return what a run folder says; None: it was recorded by a version that needs the data set.

    Raises:
        DataError: it is damaged.
    """
    if "classes" not in metrics:
        return None
    entries: dict[str, Any] = {"name": metrics["dataset"], "classes": metrics["classes"]}
    try:
        if "vocabulary_sha256" in metrics:
            content = read_verified(folder / VOCABULARY, str(metrics["vocabulary_sha256"]))
            entries["vocabulary"] = content.decode().split("\n")
        return Preprocessing.model_validate_json(json.dumps(entries | metrics.get("preprocessing", {})))
    except (ValueError, TypeError) as error:
        raise DataError(f"{folder / 'metrics.json'} is not what a run has written; train again") from error
