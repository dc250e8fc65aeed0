"""The keys that only this application has."""

from typing import Annotated, Literal

from pydantic import Field

from shared.config import AppConfig, Count, Probability, Section
from shared.data.config import TextChoice

# Standard deviation of LSTM's and RNN's first embeddings. torch's own is 1; but most words are too
# rare to learn, and stay the noise that they started as.
EMBEDDING_STD = 0.1

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


class Config(AppConfig):
    app: Literal["imdb_rnn"]
    model: Annotated[Lstm | Rnn | Bow, Field(discriminator="name")]
    data: TextChoice
