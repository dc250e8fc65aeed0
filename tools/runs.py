"""Find a finished run and the application that made it."""

import contextlib
import importlib
from pathlib import Path
from typing import Any

import apps
from shared.application import Application, FinishedRun
from shared.config import validate
from shared.errors import ConfigError, DataError
from shared.runs.reader import read_status, read_values
from shared.runs.repeat import app_command, rerun_overrides

OUTPUTS = Path("outputs")
# Keys that shorten a training: its results are not those of a complete one.
SHORTENED = ("debug", "trainer.max_steps", "data.train_limit", "data.test_limit")
RUN_HELP = "the folder of a finished run, or `latest` for the newest in outputs/"


def open_run(run: str) -> FinishedRun[Any]:
    """Return the run in a folder, or the newest finished run of all applications for `latest`.

    Raises:
        ConfigError: there is no such run, or it has not ended well.
        DataError: metrics.json is damaged.
    """
    folder = Path(run)
    if run == "latest":
        folder = latest()
        print(f"run: {folder}", flush=True)
    return FinishedRun.open(application_of(folder), folder)


def latest() -> Path:
    """Return the folder of the run that ended last, of all applications.

    Raises:
        ConfigError: there is none.
    """
    files = [*OUTPUTS.glob("*/*/metrics.json"), *OUTPUTS.glob("*/sweep_*/*/metrics.json")]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        with contextlib.suppress(DataError):  # damaged, or not one of ours
            if read_status(file.parent) == "done":
                return file.parent
    raise ConfigError(f"there is no finished run in {OUTPUTS}; train one, or give its folder")


def app_names() -> list[str]:
    """Return the names of all applications."""
    return sorted(path.parent.name for path in Path(apps.__path__[0]).glob("*/predict.py"))


def application_of(folder: Path) -> Application[Any]:
    """Return the application that made a run; only a folder of apps/ is ever imported.

    Raises:
        ConfigError: the folder is not a run folder, or there is no such application.
    """
    name = read_values(folder)["app"]
    if name not in app_names():
        raise ConfigError(f"{folder} is a run of {name!r}; there are {', '.join(app_names())}")
    return importlib.import_module(f"apps.{name}.predict").APPLICATION


def rerun_command(values: dict[str, Any]) -> str:
    """Return the shell command that repeats a run with the configuration `values`, as config.yaml has it.

    Keys that an older run lacks have the default of the schema, which it was made with.

    Raises:
        ConfigError: there is none (see `rerun_overrides`).
    """
    app = values.get("app")
    if app in app_names():
        schema = importlib.import_module(f"apps.{app}.config").Config
        with contextlib.suppress(ConfigError):  # `rerun_overrides` says why
            values = validate(schema, values).model_dump()
    return app_command(str(app), rerun_overrides(values))


def score_differences(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return how two results differ; "" if they are the same to the last bit."""
    parts = []
    if (old := before["test_accuracy"]) != (new := after["test_accuracy"]):
        parts.append(f"accuracy differs by {100 * (new - old):+.2f} points ({old:.2%}, now {new:.2%})")
    if (old := before["test_loss"]) != (new := after["test_loss"]):
        parts.append(f"loss differs by {new - old:+.2g} ({old:.6g}, now {new:.6g})")
    if before.get("weights_sha256") != after.get("weights_sha256"):
        parts.append("weights differ")
    return "; ".join(parts)
