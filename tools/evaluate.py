"""Score a finished run again, on its own test set or on other data.

    python -m tools.evaluate RUN                                   as in metrics.json, to the last bit
    python -m tools.evaluate RUN data=digits data.test_limit=100   other data with the same classes

exit status: 0 done, 2 wrong command, 3 data missing or damaged, 130 interrupted
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.application import FinishedRun
from shared.compose import config_from_overrides
from shared.config import AnyAppConfig, validate
from shared.config_errors import section_choices
from shared.errors import ConfigError
from shared.output_file import write_result
from shared.runs.progress import test_scores
from shared.runs.repeat import hydra_text
from shared.training.loop import evaluate
from tools import cli
from tools.runs import RUN_HELP, open_run, score_differences


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = cli.parser("evaluate", __doc__)
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    help_text = "other data: data=NAME, data.KEY=VALUE"
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=help_text)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the metrics there, as JSON")
    arguments = parser.parse_intermixed_args(words)
    return cli.run(lambda: report_scores(arguments.run, arguments.overrides, arguments.out))


def report_scores(run_name: str, overrides: Sequence[str], out: Path | None) -> None:
    """Evaluate a run, print its scores beside those in metrics.json, and write them to `out` as JSON."""
    run = open_run(run_name)
    metrics = evaluate_run(run, overrides)
    print(f"{test_scores(metrics)}\n{comparison(metrics, run.metrics)}")
    if out:
        write_result(out, (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode())


def evaluate_run(run: FinishedRun[Any], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the metrics of a run with the scores that it reaches on its own data or that of `overrides`.

    Raises:
        ConfigError: an override is wrong, or the data has other classes or another vocabulary.
        DataError: data or weights are missing, damaged or have changed since.
    """
    if overrides and not run.application.other_data:
        raise ConfigError(f"{overrides[0]}: {run.application.name} has no other data to be evaluated on")
    config = with_other_data(run.config, overrides) if overrides else run.config
    load = run.application.load_other_data or (lambda other, own: run.application.load_data(other))
    own = run.preprocessing
    data = run.data if config.data == run.config.data else load(config, own)
    trained_on = f"{run.metrics['dataset']}, which the network was trained on"
    if [*data.classes] != [*own.classes]:
        raise ConfigError(
            f"{data.name} has other classes ({', '.join(data.classes)}) than {trained_on} "
            f"({', '.join(own.classes)})"
        )
    if [*getattr(data, "vocabulary", ())] != [*own.vocabulary]:
        raise ConfigError(f"{data.name} has another vocabulary than {trained_on}")
    examples = run.test_examples(data, config)
    scores = evaluate(run.learner, examples)
    return run.metrics | {
        "dataset": data.name,
        "dataset_source": data.source,
        "dataset_sha256": data.sha256,
        "embedded": data.embedded,
        "test_examples": len(examples),
        "test_accuracy": scores.accuracy,
        "test_loss": scores.loss,
    }


def with_other_data(config: AnyAppConfig, overrides: Sequence[str]) -> AnyAppConfig:
    """Return the configuration of a run with `data` changed.

    Raises:
        ConfigError: an override is not data=NAME or data.KEY=VALUE, or the data set refuses it.
    """
    values = config.model_dump()
    for word in overrides:
        if not word.startswith(("data=", "data.")):
            raise ConfigError(f"{word}: only data=NAME and data.KEY=VALUE can be changed")
    own = values["data"].pop("name")
    name = next((word for word in reversed(overrides) if word.startswith("data=")), f"data={own}")
    words = [f"model={values['model']['name']}", name, "trainer.batch_size=1"]
    same = name == f"data={own}"
    kept = values["data"] if same else getattr(config.data, "READING", ())  # as the network was trained
    words += [
        f"data.{key}={hydra_text(values['data'][key])}"
        for key in kept
        if same or name.removeprefix("data=") in section_choices(type(config), "data", key)
    ]
    words += [word for word in overrides if word.startswith("data.")]
    values["data"] = config_from_overrides(config.app, type(config), words).data.model_dump()
    values["trainer"]["batch_size"] = 1  # nothing is trained: the training set may be of any size
    return validate(type(config), values)


def comparison(metrics: dict[str, Any], before: dict[str, Any]) -> str:
    """Return a line that compares new scores with those in metrics.json."""
    if any(metrics[key] != before[key] for key in ("dataset_sha256", "test_examples")):
        return f"metrics.json says {before['test_accuracy']:.2%} on {before['dataset']}"
    return score_differences(before, metrics) or "the same as in metrics.json, to the last bit"


if __name__ == "__main__":
    sys.exit(main())
