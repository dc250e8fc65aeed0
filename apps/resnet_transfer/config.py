"""Configuration keys of this application, and the constants that describe its networks."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from shared.config import AppConfig, Count, Data, Fraction, FractionOrZero, NotNegative, Positive, Section

WEIGHTS = ("auto", "imagenet", "source_task", "none")  # anything else is the path of a file

# Kind of block and number of blocks in each stage (He et al. 2016, table 1).
BLOCKS = {
    "resnet18": ("BasicBlock", (2, 2, 2, 2)),
    "resnet34": ("BasicBlock", (3, 4, 6, 3)),
    "resnet50": ("Bottleneck", (3, 4, 6, 3)),
}

# Expansion, output channels, number of blocks and first stride of each stage of MobileNetV2 (Sandler et
# al. 2018, table 2), between a convolution to 32 and one to 1,280 channels.
INVERTED_RESIDUALS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

# Mean and standard deviation of ImageNet's pixels (red, green, blue; 0 to 1), which torchvision's
# weights expect.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

IMAGENET_SIZE = 160  # pixels on each side for weights from ImageNet: see the README

Name = Annotated[str, Field(min_length=1)]


class ResNet(Section):
    IMAGENET_WIDTH: ClassVar[int] = 64
    HEAD: ClassVar[str] = "fc"

    name: Literal["resnet18", "resnet34", "resnet50"]
    width: Annotated[Count, Field(description="channels of the first stage; ImageNet weights need 64")]
    stem: Annotated[
        Literal["imagenet", "small"],
        Field(description="small: no stride and no pooling before stage 1; for small images, 16x the work"),
    ]

    @property
    def stages(self) -> list[tuple[str, ...]]:
        """The names of the layers of each stage; the first convolution and the head are in none."""
        return [("layer1",), ("layer2",), ("layer3",), ("layer4",)]

    @property
    def normalizations(self) -> list[str]:
        """The names of the layers of batch normalization."""
        kind, counts = BLOCKS[self.name]
        names = ["bn1"]
        for stage, count in enumerate(counts, 1):
            for block in range(count):
                numbers = range(1, 3 if kind == "BasicBlock" else 4)
                names += [f"layer{stage}.{block}.bn{number}" for number in numbers]
            if stage > 1 or kind == "Bottleneck":
                names.append(f"layer{stage}.0.downsample.1")
        return names


class MobileNet(Section):
    IMAGENET_WIDTH: ClassVar[int] = 32
    HEAD: ClassVar[str] = "classifier.1"

    name: Literal["mobilenet_v2"]
    width: Annotated[
        Count,
        Field(description="channels of the first convolution, rounded to a multiple of 8; ImageNet needs 32"),
    ]
    stem: Annotated[
        Literal["imagenet", "small"],
        Field(description="small: no stride before stage 3; for small images, 16x the work"),
    ]

    @property
    def settings(self) -> list[tuple[int, int, int, int]]:
        """Expansion, output channels before `scale`, number of blocks and first stride of each stage."""
        small = self.stem == "small"
        return [
            (expansion, channels, count, 1 if small and number < 2 else stride)
            for number, (expansion, channels, count, stride) in enumerate(INVERTED_RESIDUALS)
        ]

    @property
    def blocks(self) -> list[tuple[int, int, int]]:
        """Expansion, output channels and stride of each block, which is `features.1`, `features.2` ..."""
        return [
            (expansion, self.scale(channels), stride if number == 0 else 1)
            for expansion, channels, count, stride in self.settings
            for number in range(count)
        ]

    @property
    def stages(self) -> list[tuple[str, ...]]:
        """The names of the layers of each stage; the last one is the convolution after the blocks."""
        numbers = iter(range(1, len(self.blocks) + 2))
        counts = [count for _, _, count, _ in self.settings]
        return [tuple(f"features.{next(numbers)}" for _ in range(count)) for count in (*counts, 1)]

    @property
    def normalizations(self) -> list[str]:
        """The names of the layers of batch normalization."""
        names = ["features.0.1"]
        for number, (expansion, _, _) in enumerate(self.blocks, 1):
            layers = ["0.1", "2"] if expansion == 1 else ["0.1", "1.1", "3"]
            names += [f"features.{number}.conv.{layer}" for layer in layers]
        return [*names, f"features.{len(self.blocks) + 1}.1"]

    @property
    def last_channels(self) -> int:
        """The number of features, which a narrower network does not reduce."""
        return max(1280, self.scale(1280))

    def scale(self, channels: int) -> int:
        """Return channels for this width as torchvision does: a multiple of 8, at most 10 % fewer."""
        exact = channels * (self.width / self.IMAGENET_WIDTH)
        rounded = max(8, int(exact + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * exact else rounded


class Images(Data):
    READING: ClassVar = ("size",)  # the keys that a trained network depends on
    OWN_SIZE: ClassVar[int] = 32  # pixels on each side, for weights that are not ImageNet's

    size: Annotated[
        int | None,
        Field(
            ge=8,
            le=512,
            description="images are scaled to size x size pixels; null: as the initial weights need it",
        ),
    ]
    validation_fraction: Annotated[FractionOrZero, Field(description="held back before per_class is applied")]
    per_class: Annotated[Count | None, Field(description="labeled training images per class; null: all")]
    test_limit: Annotated[Count | None, Field(description="random subset of the test set; null: all of it")]
    mirror: Annotated[bool, Field(description="augmentation: mirror training images at random")]
    shift: Annotated[
        int | None,
        Field(ge=0, le=64, description="augmentation: shift by up to this many pixels; null: size / 8"),
    ]

    @property
    def pixels(self) -> int:
        """`size`, which `with_size` has decided."""
        assert self.size is not None
        return self.size


class Cifar10(Images):
    name: Literal["cifar10"]
    root: Annotated[str, Field(min_length=1, description="cache folder; created if missing")]
    download: Annotated[
        bool,
        Field(description="download CIFAR-10 (170 MB) and ImageNet weights if not in cache or DATA_ARCHIVES"),
    ]
    fallback: Annotated[
        Literal["digit_pictures"] | None,
        Field(description="used if CIFAR-10 is unavailable; null: exit status 3"),
    ]
    classes: Annotated[list[Name], Field(min_length=2, description="classes of the target task")]
    source_classes: Annotated[list[Name], Field(description="disjoint from classes")]

    @model_validator(mode="after")
    def _disjoint_classes(self) -> "Cifar10":
        both = sorted(set(self.classes) & set(self.source_classes))
        if both:
            raise ValueError(
                f"data.source_classes contains {', '.join(both)}, which is in data.classes too: the "
                "source task must not see the classes of the target task"
            )
        return self


class DigitPictures(Images):
    name: Literal["digit_pictures"]


class ImageFolder(Images):
    OWN_SIZE = 64

    name: Literal["image_folder"]
    root: Annotated[str, Field(min_length=1, description="PATH/CLASS/*, or PATH/{train,test}/CLASS/*")]
    test_fraction: Annotated[Fraction, Field(description="for testing, if there is no train/ and test/")]
    cache: Annotated[str, Field(min_length=1, description="cache folder for decoded images")]
    download: Annotated[
        bool,
        Field(description="download ImageNet weights, and CIFAR-10 (170 MB) if the source task needs it"),
    ]


class Transfer(Section):
    mode: Annotated[
        Literal["frozen", "finetune", "scratch", "compare"],
        Field(
            description="frozen: train the last layer only; finetune: all layers, the backbone at a lower "
            "rate; scratch: all layers from random weights; compare: all three, by number of images"
        ),
    ]
    backbone_rate: Annotated[Positive, Field(description="finetune: backbone's rate, times optimizer.lr")]
    unfreeze_every: Annotated[
        Count | None,
        Field(description="finetune: epochs between unfreezing two stages; null: train all from the start"),
    ]
    normalization: Annotated[
        Literal["trained", "frozen"],
        Field(
            description="finetune: batch normalization by the statistics of the batch, or frozen, by those "
            "of the initial weights"
        ),
    ] = "trained"  # older runs lack it
    features: Annotated[
        Literal["once", "each_epoch"],
        Field(description="frozen: compute the backbone's features once, or in every epoch"),
    ]
    scratch_rate: Annotated[Positive, Field(description="scratch: learning rate, times optimizer.lr")]
    frozen_rate: Annotated[Positive, Field(description="frozen: learning rate, times optimizer.lr")]
    counts: Annotated[list[Count | None], Field(min_length=1, description="compare: values of per_class")]
    seeds: Annotated[Count, Field(description="compare: number of seeds, counting up from `seed`")]
    steps: Annotated[Count, Field(description="compare: steps per training run, for every count")]
    least_epochs: Annotated[Count, Field(description="compare: minimum epochs, even if that is more steps")]


class Source(Section):
    epochs: Annotated[Count, Field(description="epochs of the source task")]
    batch_size: Annotated[int, Field(ge=2, description="batch size of the source task")]
    lr: Annotated[Positive, Field(description="peak learning rate of the source task")]
    weight_decay: Annotated[NotNegative, Field(description="weight decay of the source task")]
    per_class: Annotated[Count | None, Field(description="images per class of the source task; null: all")]
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(description="precision of the source task; auto: bfloat16 on CPUs that multiply it fast"),
    ]
    seed: Annotated[int, Field(ge=0, lt=2**32, description="seed of the source task, independent of `seed`")]


class Config(AppConfig):
    app: Literal["resnet_transfer"]
    model: Annotated[ResNet | MobileNet, Field(discriminator="name")]
    data: Annotated[Cifar10 | DigitPictures | ImageFolder, Field(discriminator="name")]
    weights: Annotated[
        str,
        Field(
            min_length=1,
            description="initial weights: imagenet, source_task, none (random), or a file (safetensors or "
            "a state dict); auto: imagenet if available, else source_task",
        ),
    ]
    weights_sha256: Annotated[
        str | None,
        Field(pattern="^[0-9a-f]{8,64}$", description="first digits of the weights file's SHA-256 digest"),
    ]
    cache: Annotated[
        str, Field(min_length=1, description="cache folder for weights, and features of frozen networks")
    ]
    transfer: Transfer
    source: Source

    @model_validator(mode="after")
    def _weights_fit(self) -> "Config":
        width, needed = self.model.width, self.model.IMAGENET_WIDTH
        if self.weights == "imagenet" and width != needed:
            raise ValueError(f"weights=imagenet needs model.width={needed} (given model.width={width})")
        if self.weights in WEIGHTS and self.weights_sha256 is not None:
            raise ValueError(f"weights_sha256 needs the path of a file in weights (given {self.weights})")
        sources = getattr(self.data, "source_classes", None)
        if self.weights in ("auto", "source_task") and sources is not None and len(sources) < 2:
            raise ValueError(
                f"data.source_classes={sources}: weights={self.weights} needs at least two classes"
            )
        path = Path(self.weights)
        if self.weights not in WEIGHTS and path.name == self.weights and not path.suffix:
            raise ValueError(
                f"weights={self.weights}: choose one of {', '.join(WEIGHTS)}, or a file "
                f"(./{self.weights} if it has no suffix)"
            )
        if self.transfer.mode == "frozen" and self.weights == "none":
            raise ValueError(
                "transfer.mode=frozen with weights=none would train on the features of random weights: "
                "choose other weights"
            )
        untrained = self.transfer.mode == "finetune" and self.weights == "none"
        if untrained and self.transfer.normalization == "frozen":
            raise ValueError(
                "transfer.normalization=frozen with weights=none would keep statistics that nothing has "
                "learned: set it to trained"
            )
        if self.transfer.mode == "compare" and self.trainer.patience is not None:
            raise ValueError("trainer.patience needs a validation set, which transfer.mode=compare lacks")
        return self


def block_convolutions(kind: str, width: int, stride: int) -> list[tuple[int, int, int]]:
    """Return output channels, kernel size and stride of each convolution of a block."""
    if kind == "BasicBlock":
        return [(width, 3, stride), (width, 3, 1)]
    return [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]
