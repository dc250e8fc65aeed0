"""The keys that only this application has."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.config import AppConfig, Count, Pooling, Probability, Section, SplitData

Channels = Annotated[list[Count], Field(min_length=2, max_length=2, description="of the two convolutions")]
Hidden = Annotated[Count, Field(description="width of the dense layer")]
Gradients = Annotated[
    Pooling,
    Field(
        description="gradients through max pooling: sparse: by C code that leaves the zeros out; "
        "plain: by the framework; auto: sparse where it is faster and there is a C compiler"
    ),
]


class Cnn(Section):
    SPARSE_IS_FASTER: ClassVar = {"torch", "keras"}  # measured: docs/performance.md
    name: Literal["cnn"]
    channels: Channels
    hidden: Hidden
    dropout: Annotated[
        list[Probability],
        Field(min_length=2, max_length=2, description="after the pooling; before the last layer"),
    ]
    pooling: Gradients = "plain"  # as it was before there was another one


class FastCnn(Section):
    SPARSE_IS_FASTER: ClassVar = {"torch"}
    name: Literal["fast_cnn"]
    channels: Channels
    hidden: Hidden
    pooling: Gradients = "plain"


class Mlp(Section):
    name: Literal["mlp"]
    hidden: Annotated[
        list[Count], Field(min_length=2, max_length=2, description="widths of the hidden layers")
    ]


class Images(SplitData):
    shift: Annotated[
        int, Field(ge=0, le=8, description="pixels that a training image may move, at random, each way")
    ]


class Mnist(Images):
    name: Literal["mnist"]
    root: Annotated[str, Field(min_length=1, description="the cache; made when it is not there")]
    download: Annotated[
        bool, Field(description="fetch it (11 MB) when neither cache nor DATA_ARCHIVES has it")
    ]
    fallback: Annotated[
        Literal["digits"] | None,
        Field(description="what stands in when it cannot be had; null: exit status 3"),
    ]


class Digits(Images):
    name: Literal["digits"]


class Config(AppConfig):
    app: Literal["mnist_cnn"]
    model: Annotated[Cnn | FastCnn | Mlp, Field(discriminator="name")]
    data: Annotated[Mnist | Digits, Field(discriminator="name")]
