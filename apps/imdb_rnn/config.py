"""The keys of the configuration that only this application has."""

from typing import Annotated, Literal

from pydantic import Field

from shared.config import AppConfig, Count, Probability, Section
from shared.data.config import TextChoice

# Standard deviation of the initial embeddings of LSTM and RNN. torch's default is 1, but most words
# are too rare to learn, and their initial values remain as noise.
EMBEDDING_STD = 0.1

Embedding = Annotated[Count, Field(description="size of the embedding of a word")]
Dropout = Annotated[Probability, Field(description="probability of dropout before the last layer")]


class Lstm(Section):
    name: Literal["lstm"]
    embedding: Embedding
    hidden: Annotated[Count, Field(description="size of the state")]
    dropout: Dropout


class Rnn(Section):
    name: Literal["rnn"]
    embedding: Embedding
    hidden: Annotated[Count, Field(description="size of the state")]
    dropout: Dropout


class Bow(Section):
    name: Literal["bow"]
    embedding: Embedding
    buckets: Annotated[Count, Field(description="number of embeddings that all pairs of words share")]
    dropout: Dropout


class Config(AppConfig):
    app: Literal["imdb_rnn"]
    model: Annotated[Lstm | Rnn | Bow, Field(discriminator="name")]
    data: TextChoice
