"""The keys that only this application has."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.config import AppConfig, Count, Data, Fraction, NotNegative, Positive, Section

IMAGENET_WIDTH = 64
WEIGHTS = ("auto", "imagenet", "source_task", "none")  # beside a file's path
Name = Annotated[str, Field(min_length=1)]
Counts = Annotated[list[Count | None], Field(min_length=1)]


class ResNet(Section):
    name: Literal["resnet18", "resnet34", "resnet50"]
    width: Annotated[Count, Field(description="channels of the first stage; ImageNet's weights have 64")]
    stem: Annotated[
        Literal["imagenet", "small"],
        Field(
            description="small: the first convolution's stride is 1 and no pooling follows: 16 "
            "times the work, for pictures of 32 pixels; the weights have the same shapes"
        ),
    ]


class Pictures(Data):
    size: Annotated[int, Field(ge=8, le=512, description="pixels a side that a picture gets")]
    validation_fraction: Annotated[
        Fraction, Field(description="of the training set, kept back before any is chosen")
    ]
    per_class: Annotated[Count | None, Field(description="labeled pictures a class to train with; null: all")]
    test_limit: Annotated[Count | None, Field(description="so many at most, drawn by the seed; null: all")]
    mirror: Annotated[bool, Field(description="whether a training picture may be mirrored")]
    shift: Annotated[int, Field(ge=0, le=64, description="pixels that a training picture may move, each way")]


class Cifar10(Pictures):
    name: Literal["cifar10"]
    root: Annotated[str, Field(min_length=1, description="the cache; made when it is not there")]
    download: Annotated[
        bool, Field(description="fetch it (170 MB) when neither cache nor DATA_ARCHIVES has it")
    ]
    fallback: Annotated[
        Literal["digit_pictures"] | None,
        Field(description="what stands in when it cannot be had; null: exit status 3"),
    ]
    classes: Annotated[list[Name], Field(min_length=2, description="the classes to tell apart")]
    source_classes: Annotated[
        list[Name], Field(min_length=2, description="of the source task; none of the others")
    ]

    @model_validator(mode="after")
    def _nothing_is_in_both(self) -> "Cifar10":
        both = sorted(set(self.classes) & set(self.source_classes))
        if both:
            raise ValueError(
                f"data.source_classes has {', '.join(both)}, which data.classes has too: the "
                "source task must not see what is to be learned"
            )
        return self


class DigitPictures(Pictures):
    name: Literal["digit_pictures"]


class ImageFolder(Pictures):
    name: Literal["image_folder"]
    root: Annotated[str, Field(min_length=1, description="PATH/CLASS/*, or PATH/{train,test}/CLASS/*")]
    test_fraction: Annotated[
        Fraction, Field(description="of the pictures, where the folder does not say which")
    ]
    cache: Annotated[str, Field(min_length=1, description="where decoded pictures are kept")]
    download: Annotated[
        bool, Field(description="fetch CIFAR-10 (170 MB) for the source task if it is needed")
    ]


class Transfer(Section):
    mode: Annotated[
        Literal["frozen", "finetune", "scratch", "compare"],
        Field(
            description="frozen: the last layer alone learns; finetune: all, the backbone slower; "
            "scratch: all, from drawn weights; compare: the three, by number of pictures"
        ),
    ]
    backbone_rate: Annotated[
        Positive, Field(description="finetune: share of optimizer.lr that the backbone learns with")
    ]
    unfreeze_every: Annotated[
        Count | None,
        Field(
            description="finetune: the last layer begins, after so many epochs a stage more "
            "learns with it; null: all from the start"
        ),
    ]
    features: Annotated[
        Literal["once", "each_epoch"],
        Field(description="frozen: when the backbone runs; once needs no augmentation"),
    ]
    scratch_rate: Annotated[Positive, Field(description="scratch: times optimizer.lr")]
    frozen_rate: Annotated[Positive, Field(description="frozen: times optimizer.lr")]
    counts: Annotated[Counts, Field(description="compare: labeled pictures a class; null: all")]
    seeds: Annotated[Count, Field(description="compare: how many seeds, from `seed` on")]
    steps: Annotated[Count, Field(description="compare: of each training, whatever the number")]
    least_epochs: Annotated[
        Count, Field(description="compare: more steps where they are less than so many epochs")
    ]


class Source(Section):
    epochs: Annotated[Count, Field(description="of the source task")]
    batch_size: Annotated[int, Field(ge=2, description="of the source task")]
    lr: Annotated[Positive, Field(description="of the source task, at its highest")]
    weight_decay: Annotated[NotNegative, Field(description="of the source task")]
    per_class: Annotated[Count | None, Field(description="pictures a class of the source task; null: all")]
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(description="of the source task; auto: bfloat16 where the CPU multiplies it fast"),
    ]
    seed: Annotated[
        int, Field(ge=0, lt=2**32, description="of the source task, which is learned once for all `seed`s")
    ]


class Config(AppConfig):
    app: Literal["resnet_transfer"]
    model: ResNet
    data: Annotated[Cifar10 | DigitPictures | ImageFolder, Field(discriminator="name")]
    weights: Annotated[
        str,
        Field(
            min_length=1,
            description="imagenet, source_task, none, or a file (safetensors or a state dict); "
            "auto: imagenet where it can be had, else source_task",
        ),
    ]
    weights_sha256: Annotated[
        str | None, Field(pattern="^[0-9a-f]{8,64}$", description="how the digest of a weights file begins")
    ]
    cache: Annotated[str, Field(min_length=1, description="where the source task's weights are")]
    transfer: Transfer
    source: Source

    @model_validator(mode="after")
    def _imagenet_has_its_width(self) -> "Config":
        if self.weights == "imagenet" and self.model.width != IMAGENET_WIDTH:
            raise ValueError(
                f"weights=imagenet needs model.width={IMAGENET_WIDTH} (given model.width={self.model.width})"
            )
        return self

    @model_validator(mode="after")
    def _weights_are_known(self) -> "Config":
        path = Path(self.weights)
        if self.weights in WEIGHTS:
            if self.weights_sha256 is not None:
                raise ValueError(
                    f"weights_sha256 is the digest of a file, and weights={self.weights} names none"
                )
        elif path.name == self.weights and not path.suffix:
            raise ValueError(
                f"weights={self.weights}: choose one of {', '.join(WEIGHTS)}, or a file "
                f"(./{self.weights} if it has no suffix)"
            )
        return self

    @model_validator(mode="after")
    def _frozen_needs_something_learned(self) -> "Config":
        if self.transfer.mode == "frozen" and self.weights == "none":
            raise ValueError(
                "transfer.mode=frozen with weights=none would train on the features of drawn "
                "weights: choose other weights"
            )
        return self
