"""The schema of every configuration: types, ranges, and keys against each other.

Hydra composes the YAML files in `conf/` with the command line; what comes out is checked here,
before any framework is imported. An application narrows `model` and `data` of `AppConfig` to its
own choices in its `config.py`. The descriptions are what `--help` prints.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Pooling = Literal["auto", "sparse", "plain"]  # how gradients pass through max pooling


class Section(BaseModel):
    """A part of a configuration: no unknown keys, no type conversion, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# Optimizers. Names and meaning of the keys are those of torch.optim.
Formula = Annotated[
    Literal["torch", "keras"],
    Field(description="whose update formula, where the two differ; torch has only its own"),
]
LearningRate = Annotated[Positive, Field(description="learning rate, the highest of the schedule")]
Eps = Annotated[Positive, Field(description="added to the denominator")]
WeightDecay = Annotated[
    NotNegative, Field(description="L2 penalty, added to the gradient (adamw: decoupled from it)")
]


class Sgd(Section):
    name: Literal["sgd"]
    lr: LearningRate
    weight_decay: WeightDecay


class Momentum(Section):
    name: Literal["momentum"]
    formula: Formula
    lr: LearningRate
    momentum: Annotated[Fraction, Field(description="fraction of the velocity that is kept")]
    nesterov: Annotated[bool, Field(description="Nesterov momentum: look one step ahead")]
    weight_decay: WeightDecay


class RMSprop(Section):
    name: Literal["rmsprop"]
    formula: Formula
    lr: LearningRate
    alpha: Annotated[Fraction, Field(description="fraction of the mean square that is kept")]
    eps: Eps
    weight_decay: WeightDecay


class Adagrad(Section):
    name: Literal["adagrad"]
    formula: Formula
    lr: LearningRate
    initial_accumulator_value: Annotated[NotNegative, Field(description="start of the sum of squares")]
    eps: Eps
    weight_decay: WeightDecay


class Adam(Section):
    name: Literal["adam", "adamw"]
    formula: Formula
    lr: LearningRate
    betas: Annotated[
        list[Fraction], Field(min_length=2, max_length=2, description="fraction of each moment that is kept")
    ]
    eps: Eps
    weight_decay: WeightDecay


Optimizer = Annotated[Sgd | Momentum | RMSprop | Adagrad | Adam, Field(discriminator="name")]


class Trainer(Section):
    epochs: Annotated[Count, Field(description="passes over the training set")]
    batch_size: Annotated[Count, Field(description="examples per step")]
    schedule: Annotated[
        Literal["constant", "one_cycle"],
        Field(description="of the learning rate; one_cycle rises to optimizer.lr, then falls to 0"),
    ]
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float64"],
        Field(
            description="of matrix products; bfloat16 keeps weights in float32; "
            "auto: bfloat16 if the processor supports it"
        ),
    ]
    threads: Annotated[Count | None, Field(description="CPU threads; null: all available cores")]
    max_steps: Annotated[Count | None, Field(description="stop after this many steps")]
    clip_norm: Annotated[
        Positive | None, Field(description="scale gradients down if their global norm exceeds this")
    ]
    # These have defaults because the config.yaml of an older run lacks them.
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"],
        Field(description="device that torch uses; auto: cuda if there is one, else cpu"),
    ] = "auto"
    compile: Annotated[
        bool, Field(description="compile the network with torch.compile; needs a C++ compiler")
    ] = False
    checkpoint_seconds: Annotated[
        NotNegative | None, Field(description="between two checkpoints; 0: after every step; null: none")
    ] = 60.0
    resume: Annotated[
        str | None,
        Field(
            min_length=1,
            description="run folder of an interrupted run to continue; "
            "latest: the newest of this application",
        ),
    ] = None


class Data(Section):
    """A data set; each adds its own keys."""


class SplitData(Data):
    """A data set of which a part is held out for validation."""

    validation_fraction: Annotated[
        Fraction, Field(description="of the training set, held out; the test set stays whole")
    ]
    train_limit: Annotated[
        Count | None, Field(description="maximum number of examples, including validation; null: all")
    ]
    test_limit: Annotated[Count | None, Field(description="maximum number of examples; null: all")]


class AppConfig(Section):
    """The keys that every application has."""

    app: Annotated[str, Field(description="name of the application")]
    framework: Annotated[Literal["torch", "keras", "numpy"], Field(description="framework to use")]
    seed: Annotated[int, Field(ge=0, lt=2**32, description="same seed, same machine: same bits")]
    debug: Annotated[
        Literal["smoke", "overfit"] | None,
        Field(description="smoke: a few steps, in seconds; overfit: memorize a few examples"),
    ]
    run_dir: Annotated[str, Field(description="the run folder; set hydra.run.dir to change it")]
    # It has a default because the config.yaml of an older run lacks it.
    logger: Annotated[
        Literal["tensorboard", "mlflow"] | None,
        Field(description="also log to RUN/tensorboard, or to MLflow in outputs/mlflow.db"),
    ] = None
    optimizer: Optimizer
    trainer: Trainer
    model: Section  # an application narrows these two to its own choices
    data: Data

    @model_validator(mode="after")
    def _framework_supports_the_keys(self) -> "AppConfig":
        framework, trainer = self.framework, self.trainer
        given = f"(given framework={framework})"
        if getattr(self.optimizer, "formula", "torch") == "keras" and framework == "torch":
            raise ValueError(f"optimizer.formula=keras needs framework=keras or numpy {given}")
        if framework != "torch" and trainer.compile:
            raise ValueError(f"trainer.compile=true needs framework=torch {given}")
        if framework != "torch" and trainer.device not in ("auto", "cpu"):
            raise ValueError(f"trainer.device={trainer.device} needs framework=torch {given}")
        if (trainer.device, trainer.precision) == ("mps", "float64"):
            raise ValueError("trainer.device=mps does not support trainer.precision=float64")
        if framework == "numpy" and trainer.precision == "bfloat16":
            raise ValueError(
                "trainer.precision=bfloat16 needs framework=torch or keras: NumPy has no such type"
            )
        return self


AnyAppConfig = TypeVar("AnyAppConfig", bound=AppConfig)
AnySection = TypeVar("AnySection", bound=Section)


def sections(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a field can hold: one, the members of a union, or none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for member in get_args(annotation) for section in sections(member)]


def literals(annotation: Any) -> list[Any]:
    """Return the values that a Literal, or a union with one in it, allows."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for member in get_args(annotation) for value in literals(member)]


def schema_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every dotted key that a schema knows, sections and all members of unions included."""
    for name, field in schema.model_fields.items():
        yield f"{prefix}{name}"
        for section in sections(field.annotation):
            yield from schema_keys(section, f"{prefix}{name}.")


def section_choices(schema: type[BaseModel], field: str, key: str) -> list[str]:
    """Return the names of those members of a union that have a key: momentum for optimizer, nesterov."""
    members = sections(schema.model_fields[field].annotation) if field in schema.model_fields else []
    return [
        name
        for section in members
        if {"name", key} <= section.model_fields.keys()
        for name in literals(section.model_fields["name"].annotation)
    ]
