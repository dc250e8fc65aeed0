"""The keys that only this application has."""

from typing import Annotated, Literal

from pydantic import Field

from shared.config import AppConfig, Count, Probability, Section, SplitData

Embedding = Annotated[Count, Field(description="numbers that a word becomes")]
Dropout = Annotated[Probability, Field(description="of the numbers before the last layer")]


class Lstm(Section):
    name: Literal["lstm"]
    embedding: Embedding
    hidden: Annotated[Count, Field(description="width of the state")]
    dropout: Dropout


class Rnn(Section):
    name: Literal["rnn"]
    embedding: Embedding
    hidden: Annotated[Count, Field(description="width of the state")]
    dropout: Dropout


class Bow(Section):
    name: Literal["bow"]
    embedding: Embedding
    buckets: Annotated[Count, Field(description="rows that all pairs of words share")]
    dropout: Dropout


class Texts(SplitData):
    vocabulary_size: Annotated[Count, Field(description="words that have an embedding, at most")]
    min_frequency: Annotated[Count, Field(description="how often they must occur, at least")]
    longest: Annotated[Count, Field(description="words of a text that are read, at most")]


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


class Config(AppConfig):
    app: Literal["imdb_rnn"]
    model: Annotated[Lstm | Rnn | Bow, Field(discriminator="name")]
    data: Annotated[Imdb | Reviews, Field(discriminator="name")]
