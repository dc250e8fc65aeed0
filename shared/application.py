"""What an application offers to the tools over finished runs: evaluate, predict, export, rerun."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic

from shared.config import AnyAppConfig
from shared.data.examples import Examples
from shared.errors import ConfigError, DataError
from shared.runs.preprocessing import Preprocessing, read_preprocessing
from shared.runs.reader import load_weights, read_config, read_metrics
from shared.training.loop import Learner


@dataclass(frozen=True)
class Prediction:
    """What a trained network predicts for one input."""

    text: str  # the lines to print
    chart: bytes  # a PNG
    name: str = "prediction"  # of the chart's file, without its suffix


@dataclass(frozen=True)
class Export:
    """How an application's networks are exported.

    `describe` says what the input is, for a reader who has only the file. `prepare` takes the network
    and the format (`onnx`, `torch` or `keras`) and returns an equivalent one that can be written so.
    """

    input: str = "inputs"  # its name
    axes: tuple[str, ...] = ("batch",)  # names of the input's first axes, those that may have any size
    describe: Callable[["FinishedRun[Any]"], str] = lambda run: "one example of the data set per row"
    prepare: Callable[[Any, str], Any] = lambda network, file_format: network


@dataclass(frozen=True)
class Application(Generic[AnyAppConfig]):
    """One application; `APPLICATION` in apps/NAME/predict.py is all that the tools know of it.

    Attributes:
        name: that of its folder in apps/.
        load_data: returns the data set, which has `name`, `source`, `sha256` and `embedded`.
        build_learner: takes a configuration and what the run knows of its data; returns the untrained
            network.
        test_examples: takes what the run knows of its data, the data set to test on and the
            configuration of the latter; returns the test examples as the network takes them.
        predict: takes a finished run and one input from the command line. It may raise a
            SuiteError. None: the application predicts nothing.
        input_help: what an input of `predict` is.
        other_data: whether a run can be evaluated on other data than its own.
        load_other_data: takes a configuration and what a run knows of its data; returns other data in
            the form that the network of the run takes. None: as `load_data` returns it.
        mean_and_std: returns the numbers that the inputs of a data set are standardized by, which
            metrics.json of older runs lacks.
    """

    name: str
    config: type[AnyAppConfig]
    load_data: Callable[[AnyAppConfig], Any]
    build_learner: Callable[[AnyAppConfig, Any], Learner]
    test_examples: Callable[[Preprocessing, Any, AnyAppConfig], Examples]
    predict: Callable[["FinishedRun[AnyAppConfig]", str], Prediction] | None = None
    input_help: str = ""
    export: Export = field(default_factory=Export)
    other_data: bool = True
    load_other_data: Callable[[AnyAppConfig, Preprocessing], Any] | None = None
    mean_and_std: Callable[[Any, AnyAppConfig], tuple[float, float]] = lambda data, config: (0.0, 1.0)


@dataclass(frozen=True, eq=False)
class FinishedRun(Generic[AnyAppConfig]):
    """A run that has ended well. Its data set and its network are loaded when first used."""

    application: Application[AnyAppConfig]
    folder: Path
    config: AnyAppConfig
    metrics: dict[str, Any]  # the content of its metrics.json

    @classmethod
    def open(cls, application: Application[AnyAppConfig], folder: Path) -> "FinishedRun[AnyAppConfig]":
        """Return the run in `folder`.

        Raises:
            ConfigError: it is not a run of this application, or has not ended well.
            DataError: metrics.json is damaged.
        """
        return cls(application, folder, read_config(folder, application.config), read_metrics(folder))

    @cached_property
    def data(self) -> Any:
        """The data set that the run was trained on.

        Raises:
            DataError: it is missing, or has changed since.
        """
        data = self.application.load_data(self.config)
        if data.sha256 != self.metrics["dataset_sha256"]:
            raise DataError(
                f"{data.name} ({data.source}) is not the data that this run was trained on "
                f"({self.metrics['dataset']}, {self.metrics['dataset_source']}): its digest differs"
            )
        return data

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """What the run knows of its data, without loading it unless an earlier version recorded the run.

        Raises:
            DataError: the run folder is damaged; or data that it needs is missing or has changed since.
        """
        if (own := read_preprocessing(self.folder, self.metrics)) is not None:
            return own
        data = self.data
        return Preprocessing(
            name=data.name,
            classes=data.classes,
            vocabulary=getattr(data, "vocabulary", ()),
            mean_and_std=self.application.mean_and_std(data, self.config),
        )

    @property
    def config_here(self) -> AnyAppConfig:
        """The configuration without a GPU or a compiler that this machine does not have."""
        trainer = self.config.trainer
        if trainer.device not in ("cuda", "mps") and not trainer.compile:
            return self.config
        from shared.training.torch_compile import check_compiler  # imports torch
        from shared.training.torch_learner import device_of

        for check, change in ((device_of, {"device": "cpu"}), (check_compiler, {"compile": False})):
            try:
                check(trainer)
            except ConfigError:
                trainer = trainer.model_copy(update=change)
        return self.config.model_copy(update={"trainer": trainer})

    @cached_property
    def learner(self) -> Learner:
        """The trained network.

        Raises:
            DataError: weights are missing, damaged or have changed since; or as `preprocessing`.
        """
        learner = self.application.build_learner(self.config_here, self.preprocessing)
        load_weights(learner, self.folder, self.metrics)
        return learner

    def test_examples(self, data: Any = None, config: AnyAppConfig | None = None) -> Examples:
        """Return test examples as the network takes them: those of the run, or of other data."""
        return self.application.test_examples(
            self.preprocessing, self.data if data is None else data, config or self.config
        )
