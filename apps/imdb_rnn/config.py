"""The keys of the configuration that only this application has."""

from typing import Annotated, Literal

from pydantic import Field

from shared.config import AppConfig, Count, Probability, Section
from shared.data.config import TextChoice

# Standard deviation of the initial embeddings of LSTM and RNN. torch's default is 1, but most words
# are too rare to learn, and their initial values remain as noise.
EMBEDDING_STD = 0.1


class Network(Section):
    name: str
    embedding: Annotated[Count, Field(description="size of the embedding of a word")]
    dropout: Annotated[Probability, Field(description="probability of dropout before the last layer")]


class Lstm(Network):
    name: Literal["lstm"]
    hidden: Annotated[Count, Field(description="size of the state")]


class Rnn(Network):
    name: Literal["rnn"]
    hidden: Annotated[Count, Field(description="size of the state")]


class Bow(Network):
    name: Literal["bow"]
    buckets: Annotated[Count, Field(description="number of embeddings that all pairs of words share")]


class Config(AppConfig):
    app: Literal["imdb_rnn"]
    model: Annotated[Lstm | Rnn | Bow, Field(discriminator="name")]
    data: TextChoice
