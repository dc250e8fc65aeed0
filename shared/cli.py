"""The command line of every application: compose, validate, train, exit with a status.

    python -m apps.APP [KEY=VALUE ...]

Hydra composes the configuration from `conf/` and the command line, makes the run folder and, with
-m, runs one job after the other. What is ours here: `--help`, messages of one or two lines in place
of tracebacks, and the exit statuses (`shared/errors.py`).
"""

import atexit
import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from shared import distributed
from shared.config import AnyAppConfig, AppConfig, flat_keys, unknown_key, validate
from shared.errors import INTERRUPTED_STATUS, ConfigError, Interrupted, LostProcess, SuiteError

CONF = Path(__file__).parent.parent / "conf"
HYDRA_VERSION_BASE = "1.3"
SAME_ERROR = 5.0  # seconds in which the first of several processes comes to an error, too


def main(app: str, schema: type[AnyAppConfig], train: Callable[[AnyAppConfig], dict[str, Any]]) -> NoReturn:
    """Run application `app` with the overrides in `sys.argv` and exit with its status.

    Args:
        app: the name of the folder in `apps/` and of the primary file in `conf/`.
        schema: what the composed configuration must be.
        train: trains once and returns the metrics; called once for each job of a sweep.
    """
    sys.argv = ["debug=none" if word == "debug=null" else word for word in sys.argv]
    if distributed.rank() > 0:
        _say_and_keep_nothing()
    if reported(lambda: _refuse_foreign_choices(schema)):
        sys.exit(ConfigError.status)
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.exit(reported(lambda: _print_help(app, schema)))

    statuses: list[int] = []
    sweep = Sweep()
    composing = True

    def job(composed: DictConfig) -> None:
        nonlocal composing
        composing = False
        run = sweep.reported if HydraConfig.get().mode == RunMode.MULTIRUN else reported
        statuses.append(run(lambda: _train(app, train, _checked(schema, composed))))
        # a job that was refused leaves no empty folder behind; a name with ${ Hydra cannot tell
        with contextlib.suppress(OSError, OmegaConfBaseException):
            Path(HydraConfig.get().runtime.output_dir).rmdir()
        if statuses[-1] == INTERRUPTED_STATUS:
            sys.exit(INTERRUPTED_STATUS)  # Ctrl-C ends a sweep, a failed job does not

    def compose_and_run() -> None:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting itself
        run = hydra.main(config_path=str(CONF), config_name=app, version_base=HYDRA_VERSION_BASE)
        try:
            run(job)()
        except Exception as error:
            if not composing:
                raise
            raise ConfigError(_explain(app, schema, error, _overrides())) from error

    # A scheduler's polite kill ends a run the way Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = reported(compose_and_run) or max(statuses, default=0)
    finally:
        sweep.tell()
    sys.exit(status)


class Sweep:
    """The jobs of `-m` so far; one that fails, whatever it is, does not hide the others."""

    def __init__(self) -> None:
        self._jobs: list[Any] = []
        self._folder = Path()

    def reported(self, action: Callable[[], object]) -> int:
        """Do a job's `action`, note how it ended, and return its exit status."""
        from shared.runs.jobs import ended

        try:
            status = reported(action)
        except Exception:
            traceback.print_exc()
            status = SuiteError.status
        hydra_config = HydraConfig.get()
        self._folder = Path(hydra_config.sweep.dir)
        number, given = hydra_config.job.num, hydra_config.overrides.task
        self._jobs.append(ended(number, status, given, Path(hydra_config.runtime.output_dir)))
        return status

    def tell(self) -> None:
        """Print and write how all jobs ended, where there were any."""
        from shared.runs.jobs import tell

        if self._jobs:
            tell(self._jobs, self._folder)


def _say_and_keep_nothing() -> None:
    """Leave output and run folder to the first process; Hydra makes a folder in any case."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (until the process ends)
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    sys.argv += [f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"]


def _train(app: str, train: Callable[[AnyAppConfig], Any], config: AnyAppConfig) -> None:
    """Train; when that is interrupted, say which command goes on."""
    try:
        with _joined(config):
            train(config)
    except Interrupted as interrupt:
        from shared.runs.repeat import written

        words = [word for word in HydraConfig.get().overrides.task if "trainer.resume=" not in word]
        command = shlex.join([*words, f"trainer.resume={written(str(interrupt.folder))}"])
        raise KeyboardInterrupt(f"{interrupt}; go on with: python -m apps.{app} {command}") from None


def _joined(config: AppConfig) -> contextlib.AbstractContextManager[None]:
    """Return a block in which the processes of a training can talk; nothing to do for one alone."""
    if distributed.world_size() == 1:
        return contextlib.nullcontext()
    from shared.torch_distributed import process_group
    from shared.training.torch_device import device_of

    return process_group(device_of(config.trainer))


def _refuse_foreign_choices(schema: type[AppConfig]) -> None:
    """Refuse models and data sets that are there, but for other applications."""
    for word in _overrides():
        group, _, names = word.partition("=")
        for name in names.split(","):
            exists = (CONF / group / f"{name}.yaml").is_file()
            choices = choices_of(schema, group) if exists else []
            if exists and name not in choices:
                raise ConfigError(
                    f"{group}={name}: there is no such {group} here; choose one of {', '.join(choices)}"
                )


def _checked(schema: type[AnyAppConfig], composed: DictConfig) -> AnyAppConfig:
    """Resolve and validate a composed configuration, and the run that it goes on with."""
    try:
        for key in OmegaConf.missing_keys(composed):
            raise ConfigError(f"{key} is missing: give it as {key}=VALUE")
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    config = validate(schema, values)
    _check_machine(config)
    if config.logger is not None and distributed.rank() == 0:
        from shared.runs.loggers import refuse_missing

        refuse_missing(config.logger)
    if config.trainer.resume is not None and distributed.rank() == 0:
        from shared.runs.resume import to_resume  # takes NumPy and more: `--help` needs none of it
        from shared.training.auto import resolve_auto

        to_resume(resolve_auto(config))  # a wrong one is refused before any data is loaded
    return config


def _check_machine(config: AppConfig) -> None:
    """Refuse what this machine does not have; only PyTorch can say, where it is not the default."""
    if distributed.world_size() > 1 and config.framework != "torch":
        raise ConfigError(f"framework={config.framework} takes one process: start it without torchrun")
    asked = config.trainer.compile or config.trainer.device in ("cuda", "mps")
    if config.framework == "torch" and asked:
        from shared.training.torch_device import check_compiler, device_of

        device_of(config.trainer)
        check_compiler(config.trainer)
    if hasattr(config.model, "pooling") and distributed.rank() == 0:
        from shared.training.auto import check_pooling

        check_pooling(config)


def configuration(app: str, schema: type[AnyAppConfig], overrides: Sequence[str]) -> AnyAppConfig:
    """Return the checked configuration that a command line gives; its run folder is not decided.

    Raises:
        ConfigError: what the application itself would say.
    """
    try:
        values = _values(app, OverridesParser.create().parse_overrides(list(overrides)))
    except (HydraException, ValueError) as error:
        raise ConfigError(_explain(app, schema, error, overrides)) from error
    return validate(schema, values)


def reported(action: Callable[[], object]) -> int:
    """Do `action`; on an error that a user should know of, print it. Return the exit status."""
    try:
        action()
    except SuiteError as error:
        _say(error)
        return error.status
    except KeyboardInterrupt as interrupt:
        if distributed.local_rank() == 0:
            print(f"interrupted{': ' if interrupt.args else ''}{interrupt}", file=sys.stderr)
        return INTERRUPTED_STATUS
    return 0


def _say(error: SuiteError) -> None:
    """Print an error; one that processes side by side all come to is said by the first of them.

    torchrun ends the others then; one that it does not end has come to an error of its own. Who has
    lost another process gives it the time to say why.
    """
    first, lost = distributed.local_rank() == 0, isinstance(error, LostProcess)
    ended = isinstance(error, LostProcess) and error.noticed
    if (lost or not first) and not ended:
        try:
            time.sleep(2 * SAME_ERROR if lost else SAME_ERROR)
        except KeyboardInterrupt:
            ended = True
    if first or not ended:
        speaker = "" if first else f"process {distributed.rank()}: "
        print(f"{speaker}error: {error}", file=sys.stderr, flush=True)


def _overrides() -> list[str]:
    """Return the KEY=VALUE arguments of the command line."""
    return [argument for argument in sys.argv[1:] if not argument.startswith("-")]


def _explain(app: str, schema: type[AppConfig], error: Exception, overrides: Sequence[str]) -> str:
    """Say in one or two lines what is wrong with `overrides`."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = str(error.missing_cfg_file).partition("/")
        choices = ", ".join(choices_of(schema, group))
        return f"{group}={name}: there is no such {group}; choose one of {choices}"
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r}: an override is KEY=VALUE, as in optimizer.lr=0.01"
    if isinstance(error, OSError):
        return (
            f"cannot make the run folder {error.filename}: {error.strerror}; "
            "choose another with hydra.run.dir=PATH"
        )
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    known = list(flat_keys(_values(app, [item for item in parsed if _is_choice(item)])))
    for item in parsed:
        key = item.key_or_group
        if key not in known and not key.startswith("hydra"):
            return unknown_key(key, known)
        if item.is_sweep_override():
            return f"{item.input_line} holds several values: add -m to run each of them in turn"
    return str(error).splitlines()[0]


def _is_choice(override: Override) -> bool:
    """Whether an override chooses a file of a group (model=mlp)."""
    return (CONF / override.key_or_group / f"{override.value()}.yaml").is_file()


def _values(app: str, overrides: Sequence[Override]) -> dict[str, Any]:
    """Compose `app`'s configuration, with nothing resolved, without running anything."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base=HYDRA_VERSION_BASE):
        composed = hydra.compose(app, overrides=[str(item.input_line) for item in overrides])
    values: Any = OmegaConf.to_container(composed)
    return values


def _print_help(app: str, schema: type[AppConfig]) -> None:
    """Print the command line's form, the choices, and every key with its value and meaning."""
    try:
        parsed = OverridesParser.create().parse_overrides(_overrides())
        values = _values(app, [item for item in parsed if not item.is_sweep_override()])
    except (HydraException, ValueError) as error:
        raise ConfigError(_explain(app, schema, error, _overrides())) from error
    validate(schema, values)
    print(f"usage: python -m apps.{app} [KEY=VALUE ...]\n\nchoices:")
    folders = {path.name for path in CONF.iterdir() if path.is_dir()}
    for group in sorted(folders & schema.model_fields.keys()):  # conf/regression is no group
        print(f"  {group}={{{', '.join(choices_of(schema, group))}}}")
    print("\nkeys, with their values now:")
    for key, value, meaning in _key_table(schema, values):
        shown = "null" if value is None else str(value).lower() if value in (True, False) else value
        print(f"  {f'{key}={shown}':<36}  {meaning}".rstrip())
    print(
        "\nhydra.run.dir=PATH sets the run folder; -m KEY=A,B runs each value in turn;\n"
        "--hydra-help tells more.\n"
        "exit status: 0 done, 2 wrong command or configuration, 3 data missing or damaged,\n"
        "4 training diverged, 130 interrupted"
    )


def choices_of(schema: type[AppConfig], group: str) -> list[str]:
    """Return the files of a group, without the models and data sets of other applications."""
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    field = schema.model_fields.get(group)
    if field is None or field.annotation in (str, None):
        return names
    members = get_args(field.annotation) or (field.annotation,)
    own = {
        name
        for member in members
        if hasattr(member, "model_fields") and "name" in member.model_fields
        for name in _literals(member.model_fields["name"].annotation)
    }
    return [name for name in names if name in own or not own]


def _key_table(
    schema: type[BaseModel], values: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, str]]:
    """Yield (dotted key, value, meaning) for every key of `values`."""
    for name, value in values.items():
        field = schema.model_fields[name]
        if isinstance(value, dict):
            yield from _key_table(_section(field.annotation, value), value, f"{prefix}{name}.")
        elif name != "name" and f"{prefix}{name}" not in ("app", "run_dir"):  # chosen otherwise
            choices = ", ".join(map(str, _literals(field.annotation)))
            meaning = f"{field.description} [{choices}]" if choices else str(field.description)
            yield f"{prefix}{name}", value, meaning


def _section(annotation: Any, values: dict[str, Any]) -> type[BaseModel]:
    """Return the schema of a section: of a union's members the one that has this name."""
    members = get_args(annotation) or (annotation,)
    return next(
        member
        for member in members
        if len(members) == 1 or values["name"] in _literals(member.model_fields["name"].annotation)
    )


def _literals(annotation: Any) -> list[Any]:
    """Return what a Literal, or a union with one in it, allows."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for member in get_args(annotation) for value in _literals(member)]
