"""The keys of text data sets, for `data` of a configuration."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.config import Count, Fraction, SplitData


class Texts(SplitData):
    """A text data set, and how its texts become ids."""

    READING: ClassVar = ("longest", "keep", "padding")  # the keys that a trained network depends on

    vocabulary_size: Annotated[Count, Field(description="maximum number of words with an embedding")]
    min_frequency: Annotated[Count, Field(description="minimum number of their occurrences")]
    longest: Annotated[Count, Field(description="maximum number of words read of a text")]
    keep: Annotated[Literal["first", "last"], Field(description="which words of a longer text are read")]
    padding: Annotated[
        Literal["masked", "front"],
        Field(
            description="masked: texts are padded to the longest of a batch, and the network ignores the "
            "padding; front: every text is padded at the front to data.longest, and the network reads it"
        ),
    ] = "masked"


class Imdb(Texts):
    name: Literal["imdb"]
    root: Annotated[str, Field(min_length=1, description="the cache; created if it does not exist")]
    download: Annotated[bool, Field(description="fetch it (84 MB) if neither cache nor DATA_ARCHIVES has it")]
    fallback: Annotated[
        Literal["reviews"] | None,
        Field(description="data set to use if it cannot be fetched; null: exit status 3"),
    ]


class Reviews(Texts):
    name: Literal["reviews"]


class TextFolder(Texts):
    name: Literal["text_folder"]
    root: Annotated[
        str, Field(min_length=1, description="PATH/CLASS/*.txt, or PATH/{train,test}/CLASS/*.txt")
    ]
    test_fraction: Annotated[Fraction, Field(description="of the texts, if the folder has no test set")]


TextChoice = Annotated[Imdb | Reviews | TextFolder, Field(discriminator="name")]
