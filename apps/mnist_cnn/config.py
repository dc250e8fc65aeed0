"""The configuration of this application: networks and data sets, beside the keys that all have."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.config import AppConfig, Count, Init, Pooling, Probability, Section, SplitData

CLASSES = 10
SIDE = 28  # pixels

PairOfCounts = Annotated[list[Count], Field(min_length=2, max_length=2)]
PairOfProbabilities = Annotated[list[Probability], Field(min_length=2, max_length=2)]


class Pooled(Section):
    """What the two convolutional networks have in common."""

    SPARSE_CAN_PAY: ClassVar[dict[str, tuple[int, ...]]]  # where, and the sizes to measure

    channels: Annotated[PairOfCounts, Field(description="of the two convolutions")]
    hidden: Annotated[Count, Field(description="width of the dense layer")]
    pooling: Annotated[
        Pooling,
        Field(
            description="code for the gradients of max pooling; sparse: C code that skips the zeros; "
            "plain: the framework's; auto: sparse on a CPU where it is measured to be faster"
        ),
    ] = "plain"  # runs recorded before this key existed were plain


class Cnn(Pooled):
    SPARSE_CAN_PAY: ClassVar = {"torch": (26, 3, 32, 64), "keras": (26, 3, 32, 64)}

    name: Literal["cnn"]
    dropout: Annotated[PairOfProbabilities, Field(description="after the pooling; before the last layer")]
    pool: Annotated[Literal["max", "average"], Field(description="kind of the 2x2 pooling layer")] = "max"


class FastCnn(Pooled):
    SPARSE_CAN_PAY: ClassVar = {"torch": (12, 5, 16, 32)}

    name: Literal["fast_cnn", "accurate_cnn"]


class Mlp(Section):
    name: Literal["mlp"]
    hidden: Annotated[PairOfCounts, Field(description="widths of the hidden layers")]
    activation: Annotated[Literal["relu", "sigmoid", "tanh"], Field(description="of hidden layers")] = "relu"
    init: Init = "torch"


class Images(SplitData):
    shift: Annotated[int, Field(ge=0, le=8, description="largest random shift in training, in pixels")]
    # Runs recorded before the next key existed had no distortion.
    distortion: Annotated[float, Field(ge=0, le=5, description="strength of random distortions")] = 0.0


class Mnist(Images):
    name: Literal["mnist"]
    root: Annotated[str, Field(min_length=1, description="the cache; created if needed")]
    download: Annotated[bool, Field(description="if neither cache nor DATA_ARCHIVES has it (11 MB)")]
    fallback: Annotated[
        Literal["digits"] | None, Field(description="if MNIST is not available; null: exit status 3")
    ]


class Digits(Images):
    name: Literal["digits"]


class Config(AppConfig):
    app: Literal["mnist_cnn"]
    model: Annotated[Cnn | FastCnn | Mlp, Field(discriminator="name")]
    data: Annotated[Mnist | Digits, Field(discriminator="name")]
    pixels: Annotated[
        Literal["standardized", "unit"],
        Field(description="standardized: mean 0, standard deviation 1 over the training set; unit: 0 to 1"),
    ] = "standardized"
