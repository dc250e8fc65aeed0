"""The schema of every configuration: types, ranges, and keys against each other.

Hydra composes the YAML files in `conf/` with the command line; what comes out is checked here,
before any framework is imported. An application narrows `model` and `data` of `AppConfig` to its
own choices in its `config.py`. The descriptions are what `--help` prints.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import ConfigError

Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Pooling = Literal["auto", "sparse", "plain"]  # how gradients pass through max pooling


class Section(BaseModel):
    """A part of a configuration: no unknown keys, no conversion between types, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# Optimizers. Names and meaning of the keys are those of torch.optim.
Formula = Annotated[
    Literal["torch", "keras"],
    Field(description="whose update formula, where the two differ; torch knows its own alone"),
]
LearningRate = Annotated[Positive, Field(description="learning rate, at its highest")]
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
    momentum: Annotated[Fraction, Field(description="share of the velocity that stays")]
    nesterov: Annotated[bool, Field(description="look one step ahead")]
    weight_decay: WeightDecay


class RMSprop(Section):
    name: Literal["rmsprop"]
    formula: Formula
    lr: LearningRate
    alpha: Annotated[Fraction, Field(description="share of the mean square that stays")]
    eps: Eps
    weight_decay: WeightDecay


class Adagrad(Section):
    name: Literal["adagrad"]
    formula: Formula
    lr: LearningRate
    initial_accumulator_value: Annotated[NotNegative, Field(description="where the sum of squares starts")]
    eps: Eps
    weight_decay: WeightDecay


class Adam(Section):
    name: Literal["adam", "adamw"]
    formula: Formula
    lr: LearningRate
    betas: Annotated[
        list[Fraction], Field(min_length=2, max_length=2, description="share of each moment that stays")
    ]
    eps: Eps
    weight_decay: WeightDecay


Optimizer = Annotated[Sgd | Momentum | RMSprop | Adagrad | Adam, Field(discriminator="name")]


class Trainer(Section):
    epochs: Annotated[Count, Field(description="passes over the training set")]
    batch_size: Annotated[Count, Field(description="examples a step")]
    schedule: Annotated[
        Literal["constant", "one_cycle"],
        Field(description="of the learning rate; one_cycle rises to optimizer.lr, then falls to 0"),
    ]
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float64"],
        Field(
            description="of products; bfloat16 keeps weights in float32; "
            "auto: bfloat16 where the processor has it"
        ),
    ]
    threads: Annotated[Count | None, Field(description="null: all cores that this process may use")]
    max_steps: Annotated[Count | None, Field(description="stop after so many steps")]
    clip_norm: Annotated[
        Positive | None, Field(description="scale the gradients down when their norm together is above this")
    ]
    # These have defaults because a config.yaml written before there were any lacks them.
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"],
        Field(description="that torch computes on; auto: cuda where there is one, else cpu"),
    ] = "auto"
    compile: Annotated[
        bool, Field(description="let torch compile the network, which needs a C++ compiler")
    ] = False
    checkpoint_seconds: Annotated[
        NotNegative | None, Field(description="between two checkpoints; 0: one after every step; null: none")
    ] = 60.0
    resume: Annotated[
        str | None,
        Field(
            min_length=1,
            description="go on in this run folder, where it was interrupted; "
            "latest: the newest of this application that has not ended",
        ),
    ] = None


class Data(Section):
    """A data set; each adds its own keys."""


class SplitData(Data):
    """What a data set has of which a part is held back to validate with."""

    validation_fraction: Annotated[
        Fraction, Field(description="of the training set, kept back; never of the test set")
    ]
    train_limit: Annotated[
        Count | None,
        Field(description="so many examples at most, those to validate with among them; null: all"),
    ]
    test_limit: Annotated[Count | None, Field(description="so many examples at most; null: all")]


class Texts(SplitData):
    """A text data set, and how its texts become ids."""

    vocabulary_size: Annotated[Count, Field(description="words that have an embedding, at most")]
    min_frequency: Annotated[Count, Field(description="how often they must occur, at least")]
    longest: Annotated[Count, Field(description="words of a text that are read, at most")]
    keep: Annotated[Literal["first", "last"], Field(description="which words of a longer text")]


class Imdb(Texts):
    name: Literal["imdb"]
    root: Annotated[str, Field(min_length=1, description="the cache; made when it is not there")]
    download: Annotated[
        bool, Field(description="fetch it (84 MB) when neither cache nor DATA_ARCHIVES has it")
    ]
    fallback: Annotated[
        Literal["reviews"] | None,
        Field(description="what stands in when it cannot be had; null: exit status 3"),
    ]


class Reviews(Texts):
    name: Literal["reviews"]


class TextFolder(Texts):
    name: Literal["text_folder"]
    root: Annotated[
        str, Field(min_length=1, description="PATH/CLASS/*.txt, or PATH/{train,test}/CLASS/*.txt")
    ]
    test_fraction: Annotated[Fraction, Field(description="of the texts, where the folder does not say which")]


TextChoice = Annotated[Imdb | Reviews | TextFolder, Field(discriminator="name")]


class AppConfig(Section):
    """The keys that every application has."""

    app: Annotated[str, Field(description="which application this is")]
    framework: Annotated[Literal["torch", "keras", "numpy"], Field(description="who computes")]
    seed: Annotated[int, Field(ge=0, lt=2**32, description="same seed, same machine: the same bits")]
    debug: Annotated[
        Literal["smoke", "overfit"] | None,
        Field(description="smoke: a few steps, in seconds; overfit: a few examples by heart"),
    ]
    run_dir: Annotated[str, Field(description="the run folder; set hydra.run.dir to change it")]
    # It has a default because a config.yaml written before there was one lacks it.
    logger: Annotated[
        Literal["tensorboard", "mlflow"] | None,
        Field(description="log to RUN/tensorboard, or to MLflow in outputs/mlflow.db, as well"),
    ] = None
    optimizer: Optimizer
    trainer: Trainer
    model: Section  # an application narrows these two to its own choices
    data: Data

    @model_validator(mode="after")
    def _formula_has_its_framework(self) -> "AppConfig":
        formula = getattr(self.optimizer, "formula", "torch")
        if formula == "keras" and self.framework == "torch":
            raise ValueError(
                f"optimizer.formula=keras needs framework=keras or numpy (given framework={self.framework})"
            )
        return self

    @model_validator(mode="after")
    def _device_has_its_framework(self) -> "AppConfig":
        trainer = self.trainer
        if self.framework != "torch" and trainer.compile:
            raise ValueError(f"trainer.compile=true needs framework=torch (given framework={self.framework})")
        if self.framework != "torch" and trainer.device not in ("auto", "cpu"):
            raise ValueError(
                f"trainer.device={trainer.device} needs framework=torch (given framework={self.framework})"
            )
        if (trainer.device, trainer.precision) == ("mps", "float64"):
            raise ValueError("trainer.device=mps knows no trainer.precision=float64")
        return self

    @model_validator(mode="after")
    def _precision_has_its_framework(self) -> "AppConfig":
        if self.framework == "numpy" and self.trainer.precision == "bfloat16":
            raise ValueError(
                "trainer.precision=bfloat16 needs framework=torch or keras: NumPy has no such type"
            )
        return self


AnyAppConfig = TypeVar("AnyAppConfig", bound=AppConfig)


def can_be_sparse(config: AppConfig) -> bool:
    """Whether pooling=sparse is possible with this framework, arithmetic and device."""
    trainer = config.trainer
    return (
        config.framework != "numpy"
        and trainer.precision != "float64"
        and trainer.device in ("auto", "cpu")
        and not trainer.compile
    )


def validate(schema: type[AnyAppConfig], values: Mapping[str, Any]) -> AnyAppConfig:
    """Return the checked configuration.

    Args:
        schema: the application's `Config`.
        values: nested dicts and lists, as Hydra composed and resolved them.

    Raises:
        ConfigError: one line for each of the first two faults: the key, the rule and the value.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        faults = [_describe(fault, values) for fault in error.errors(include_url=False)]
    lines = faults[:2]
    if len(faults) > 2:
        lines[-1] += f" (and {len(faults) - 2} more)"
    raise ConfigError("\n".join(lines)) from None


def _describe(fault: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Say in one line what pydantic found."""
    if fault["type"] == "value_error":  # from one of our own validators, which name their keys
        return str(fault["ctx"]["error"])
    key = _key(fault["loc"], values)
    if fault["type"] == "extra_forbidden":
        return unknown_key(key, flat_keys(values, without=key))
    if fault["type"] == "missing":
        return f"{key} is missing"
    rule = fault["msg"].removeprefix("Input ")
    return f"{key} {rule[0].lower()}{rule[1:]} (given {key}={fault['input']})"


def _key(location: Sequence[str | int], values: Any) -> str:
    """Return a pydantic location as a dotted key, without the names of union members in it."""
    parts = []
    in_union = False
    for step, part in enumerate(location):
        if isinstance(values, Mapping) and part == values.get("name") and not in_union:
            in_union = True  # the part names the member of the union, as `momentum` does; no key
            continue
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif isinstance(values, list):
            values = values[int(part)]
        elif step < len(location) - 1:
            continue
        parts.append(str(part))
    return ".".join(parts)


def flat_keys(values: Mapping[str, Any], prefix: str = "", without: str = "") -> Iterator[str]:
    """Yield every key of nested dicts with its dots, groups included, `without` left out."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key != without:
            yield key
        if isinstance(value, Mapping):
            yield from flat_keys(value, f"{key}.", without)


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return the message that there is no such key, with the closest of the known ones."""
    known = list(dict.fromkeys(known))
    section, _, last = key.rpartition(".")
    # `lr` means `optimizer.lr`: a name without its section is close to the key that ends with it.
    by_last_name = {name.rpartition(".")[2]: name for name in known}
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
    close_last = difflib.get_close_matches(last, by_last_name, n=1, cutoff=0.8)
    siblings = [name for name in known if section and name.rpartition(".")[0] == section]
    if close or close_last:
        hint = f"did you mean {close[0] if close else by_last_name[close_last[0]]!r}?"
    else:
        hint = f"the keys here are {', '.join(siblings)}" if siblings else "--help lists all keys"
    return f"unknown key {key!r} ({hint})"


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
