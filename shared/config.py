"""The schema of every configuration: types, ranges, and keys against each other.

Hydra composes the YAML files in `conf/` with the command line; what comes out is checked here,
before any framework is imported. An application narrows `model` and `data` of `AppConfig` to its
own choices in its `config.py`. The descriptions are what `--help` prints.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Fraction = Annotated[float, Field(gt=0, lt=1)]
FractionOrZero = Annotated[float, Field(ge=0, lt=1)]
Probability = FractionOrZero
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Eps = Annotated[Positive, Field(description="added to the denominator")]
Init = Annotated[
    Literal["torch", "glorot", "he", "normal"],
    Field(
        description="initial weights; torch: uniform within 1/sqrt(fan-in), biases too; others: biases are 0"
    ),
]
Pooling = Literal["auto", "sparse", "plain"]  # how gradients pass through max pooling


class Section(BaseModel):
    """A part of a configuration: no unknown keys, no type conversion, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class OptimizerSection(Section):
    """What all optimizers have. The keys are those of torch.optim, and `l1`, which older runs lack."""

    name: str
    lr: Annotated[Positive, Field(description="learning rate, the highest of the schedule")]
    weight_decay: Annotated[
        NotNegative, Field(description="L2 penalty, added to the gradient (adamw: decoupled from it)")
    ]
    l1: Annotated[NotNegative, Field(description="L1 penalty: adds l1 * sign(w) to the gradient")] = 0.0


class Sgd(OptimizerSection):
    name: Literal["sgd"]


class TwoFormulas(OptimizerSection):
    """An optimizer whose update differs between the frameworks."""

    formula: Annotated[
        Literal["torch", "keras"],
        Field(description="whose update formula, where the two differ; torch has only its own"),
    ]


class Momentum(TwoFormulas):
    name: Literal["momentum"]
    momentum: Annotated[Fraction, Field(description="fraction of the velocity that is kept")]
    nesterov: Annotated[bool, Field(description="Nesterov momentum: look one step ahead")]


class RMSprop(TwoFormulas):
    name: Literal["rmsprop"]
    alpha: Annotated[Fraction, Field(description="fraction of the mean square that is kept")]
    eps: Eps


class Adagrad(TwoFormulas):
    name: Literal["adagrad"]
    initial_accumulator_value: Annotated[NotNegative, Field(description="start of the sum of squares")]
    eps: Eps


class Adam(TwoFormulas):
    name: Literal["adam", "adamw"]
    betas: Annotated[
        list[Fraction], Field(min_length=2, max_length=2, description="fraction of each moment that is kept")
    ]
    eps: Eps


Optimizer = Annotated[Sgd | Momentum | RMSprop | Adagrad | Adam, Field(discriminator="name")]


class Trainer(Section):
    epochs: Annotated[
        Count, Field(description="passes over the training set, for which one_cycle is planned")
    ]
    batch_size: Annotated[Count, Field(description="examples per step")]
    schedule: Annotated[
        Literal["constant", "one_cycle"],
        Field(description="of the learning rate; one_cycle rises to optimizer.lr, then falls to 0"),
    ]
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float64"],
        Field(description="of matrix products; auto: bfloat16 if the processor supports it, else float32"),
    ]
    threads: Annotated[Threads | None, Field(description="CPU threads; null: all available cores")]
    max_steps: Annotated[Count | None, Field(description="stop after this many steps")]
    clip_norm: Annotated[
        Positive | None, Field(description="scale gradients down if their global norm exceeds this")
    ]
    # These have defaults because the config.yaml of an older run lacks them.
    patience: Annotated[
        Count | None, Field(description="stop after this many epochs without a lower validation loss")
    ] = None
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
        Field(min_length=1, description="folder of the run to resume; latest: the newest interrupted one"),
    ] = None


class Data(Section):
    """A data set; each adds its own keys."""

    @property
    def has_validation(self) -> bool:
        """Whether a part of the data set is for validation."""
        return bool(getattr(self, "validation_fraction", 0) or getattr(self, "validation_examples", 0))


class SplitData(Data):
    """A data set of which a part is held out for validation."""

    validation_fraction: Annotated[
        FractionOrZero, Field(description="of the training set, held out; the test set stays whole")
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
        if trainer.patience is not None and not self.data.has_validation:
            raise ValueError("trainer.patience needs a validation set, and there is none; set it to null")
        if getattr(self.optimizer, "formula", "torch") == "keras" and framework == "torch":
            raise ValueError(f"optimizer.formula=keras needs framework=keras or numpy {given}")
        if framework != "torch" and trainer.compile:
            raise ValueError(f"trainer.compile=true needs framework=torch {given}")
        if framework != "torch" and trainer.device not in ("auto", "cpu"):
            raise ValueError(f"trainer.device={trainer.device} needs framework=torch {given}")
        if (trainer.device, trainer.precision) == ("mps", "float64"):
            raise ValueError("trainer.device=mps does not support trainer.precision=float64")
        if framework == "numpy" and trainer.precision == "bfloat16":
            raise ValueError(f"trainer.precision=bfloat16 needs framework=torch or keras {given}")
        return self


AnyAppConfig = TypeVar("AnyAppConfig", bound=AppConfig)
AnySection = TypeVar("AnySection", bound=Section)


def validate(
    schema: type[AnySection], values: Mapping[str, Any], overrides: Sequence[str] = ()
) -> AnySection:
    """Return the validated configuration; `overrides`, from which Hydra composed `values`, are for messages.

    Raises:
        ConfigError: one line for each of the first two errors: the key, the rule and the value.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        from shared.config_errors import validation_error

        raise validation_error(schema, error, values, overrides) from None
