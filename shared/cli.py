"""The command line of every application: compose, validate, train, exit with a status.

    python -m apps.APP [KEY=VALUE ...]

Hydra composes the configuration from `conf/` and the command line, creates the run folder and, with
-m, runs one job after the other. This module adds `--help`, errors of one or two lines instead of
tracebacks, and the exit statuses (`shared/errors.py`).
"""

import contextlib
import importlib
import os
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from shared import CONF, console, distributed
from shared.config import AnyAppConfig, AppConfig, validate
from shared.errors import INTERRUPTED_STATUS, ConfigError, Interrupted, SuiteError

# conf/base.yaml: Hydra creates the run folder in every process, but only rank 0 writes one.
OmegaConf.register_new_resolver(
    "on_rank0", lambda folder: folder if distributed.rank() == 0 else tempfile.gettempdir(), replace=True
)


class Sweep(Callback):
    """Hydra callback (conf/base.yaml) that remembers the folder of a sweep."""

    folder: Path | None = None  # None: this is no sweep

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the folder of the sweep, before its first job."""
        Sweep.folder = Path(config.hydra.sweep.dir)
        console.treat_kills_as_ctrl_c()  # the table is written however the sweep ends


def main(app: str, schema: type[AnyAppConfig], train_module: str) -> NoReturn:
    """Run application `app` with the command line of this process, and exit with its status.

    Args:
        app: the name of the folder in `apps/` and of the primary file in `conf/`.
        schema: the application's `Config`.
        train_module: has `train(config)`; imported once a configuration is valid.
    """
    if distributed.rank() > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (until the process ends)
    console.ignore_closed_output()
    arguments = get_args_parser().parse_args()
    sweep_id = uuid.uuid4().hex
    statuses: list[int] = []  # exit statuses of the jobs in this process
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"

    def job(composed: DictConfig) -> None:  # a launcher may run it in another process
        hydra_config = HydraConfig.get()
        overrides = hydra_config.overrides.task
        status = exit_status_of(
            lambda: _train(app, validate_job(schema, composed, overrides), train_module), full_error
        )
        statuses.append(status)
        if distributed.rank() == 0:  # a refused job leaves no empty folder behind
            with contextlib.suppress(OSError, OmegaConfBaseException):
                Path(hydra_config.runtime.output_dir).rmdir()
            if hydra_config.mode == RunMode.MULTIRUN:
                from shared.runs.jobs import write_job

                write_job(sweep_id, hydra_config, status)
        if status == INTERRUPTED_STATUS or (status and distributed.world_size() > 1):
            sys.exit(status)  # a failed job ends a sweep only if other processes may still be in that job

    def compose_and_run() -> None:
        if arguments.help:
            from shared.help import print_help

            return print_help(app, arguments.config_name or app, schema, arguments.overrides)
        words = arguments.overrides
        if arguments.hydra_help and words:
            raise ConfigError(f"--hydra-help stands alone: leave out {' '.join(words)}")
        if arguments.multirun:  # before the first job
            from shared.config_errors import check_overrides

            check_overrides(schema, words, multirun=True)
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting itself
        try:
            hydra.main(config_path=str(CONF), config_name=app, version_base="1.3")(job)()
        except Exception as error:
            of_hydra = isinstance(error, HydraException | OmegaConfBaseException | OSError)
            if Sweep.folder is not None and not of_hydra:  # of a launcher plugin: `job` itself raises none
                from shared.runs.jobs import launcher_error

                raise launcher_error(error, words) from error
            from shared.config_errors import composition_error

            raise composition_error(schema, error, words, arguments.multirun) from error
        finally:
            del os.environ["HYDRA_FULL_ERROR"]

    try:
        status = exit_status_of(compose_and_run, full_error)
    finally:
        if Sweep.folder is not None and distributed.rank() == 0:
            from shared.runs.jobs import write_summary

            statuses += write_summary(sweep_id, Sweep.folder)
    sys.exit(status or max(statuses, default=0))


def validate_job(schema: type[AnyAppConfig], composed: DictConfig, overrides: Sequence[str]) -> AnyAppConfig:
    """Return the validated configuration of a job, composed of `overrides`.

    Raises:
        ConfigError: it is wrong, or cannot be trained on this machine.
    """
    try:
        for key in OmegaConf.missing_keys(composed):
            raise ConfigError(f"{key} is missing: give it as {key}=VALUE")
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    given = {word.lstrip("+").partition("=")[0] for word in overrides}
    if "run_dir" in given:
        raise ConfigError("run_dir: set hydra.run.dir=PATH instead (with -m: hydra.sweep.dir=PATH)")
    if "trainer.resume" in given:
        from shared.runs.resume import resumed_values

        values = resumed_values(schema, values, overrides)
    config = validate(schema, values, overrides)
    trainer, chdir = config.trainer, HydraConfig.initialized() and HydraConfig.get().job.chdir
    unusual = config.logger or trainer.compile or trainer.resume or trainer.device not in ("auto", "cpu")
    unusual = unusual or chdir or Path(config.run_dir).resolve() == Path.cwd()
    if unusual or distributed.world_size() > 1 or find_spec(config.framework) is None:
        from shared import preflight

        preflight.check(config)
    return config


def _train(app: str, config: AppConfig, train_module: str) -> None:
    """Train; on Ctrl-C add the command that resumes the run."""
    train: Callable[[AppConfig], object] = importlib.import_module(train_module).train
    console.treat_kills_as_ctrl_c()
    try:
        if distributed.world_size() > 1:
            from shared.torch_distributed import join_processes
            from shared.training.torch_learner import device_of

            join_processes(device_of(config.trainer))
        train(config)
    except Interrupted as interrupt:
        from shared.runs.resume import resume_command

        command = resume_command(app, HydraConfig.get().overrides.task, interrupt.folder)
        raise KeyboardInterrupt(f"{interrupt}; resume with: {command}") from None


def exit_status_of(action: Callable[[], object], full_error: bool = False) -> int:
    """Run `action`, print the error that it ends with, and return the exit status.

    A SuiteError is printed in one or two lines, unless `full_error` asks for the traceback of every
    error; any other exception is a defect and keeps its traceback.
    """
    try:
        try:
            action()
        except ModuleNotFoundError as error:
            from shared.extras import check_module

            check_module(error)
            raise
    except SuiteError as error:
        if full_error:
            traceback.print_exc()
        if distributed.world_size() > 1:
            from shared import rank_errors

            rank_errors.report(error)
        else:
            print(f"error: {error}", file=sys.stderr, flush=True)
        return error.status
    except KeyboardInterrupt as interrupt:
        if distributed.local_rank() == 0:
            print(f"interrupted{': ' if interrupt.args else ''}{interrupt}", file=sys.stderr)
        return INTERRUPTED_STATUS
    except Exception:
        traceback.print_exc()
        return SuiteError.status
    return 0
