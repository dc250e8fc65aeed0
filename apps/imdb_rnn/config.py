"""The keys of the configuration that only this application has."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.config import AppConfig, Count, Positive, Probability, Section
from shared.data.config import TextChoice

PairOfProbabilities = Annotated[list[Probability], Field(min_length=2, max_length=2)]


Readout = Annotated[
    Literal["max", "last"],
    Field(description="what the last layer gets: maximum of each unit over time, or the last state"),
]


class Network(Section):
    name: str
    embedding: Annotated[Count, Field(description="size of the embedding of a word")]
    dropout: Annotated[Probability, Field(description="probability of dropout before the last layer")]


class Recurrent(Network):
    """What LSTM and RNN have in common. The defaults are those of runs recorded before the keys existed."""

    hidden: Annotated[Count, Field(description="size of the state")]
    # torch's default is 1, but most words are too rare to learn, and their initial values remain as noise.
    embedding_std: Annotated[Positive, Field(description="standard deviation of the initial embeddings")] = (
        0.1
    )
    embedding_dropout: Annotated[
        Probability, Field(description="probability that a text loses a channel of its embedding in training")
    ] = 0.0
    recurrent_dropout: Annotated[
        PairOfProbabilities | None,
        Field(description="Keras only: dropout of the layer's inputs and of its previous state"),
    ] = None

    @property
    def units(self) -> int:
        """Return the number of units that the last layer gets."""
        return self.hidden


class Lstm(Recurrent):
    name: Literal["lstm"]
    readout: Readout = "max"


class BiLstm(Recurrent):
    """An LSTM of `hidden` units in each direction."""

    name: Literal["bilstm"]
    readout: Literal["max"] = "max"

    @property
    def units(self) -> int:
        """Return the number of units of both directions."""
        return 2 * self.hidden


class Rnn(Recurrent):
    name: Literal["rnn", "rnn_cell"]
    readout: Readout = "last"


class Bow(Network):
    name: Literal["bow"]
    buckets: Annotated[Count, Field(description="number of embeddings that all pairs of words share")]


class Nbsvm(Section):
    name: Literal["nbsvm"]
    buckets: Annotated[Count, Field(description="number of weights that all pairs of words share")]


class Config(AppConfig):
    app: Literal["imdb_rnn"]
    model: Annotated[Lstm | BiLstm | Rnn | Bow | Nbsvm, Field(discriminator="name")]
    data: TextChoice

    @model_validator(mode="after")
    def _framework_supports_the_network(self) -> "Config":
        if self.model.name == "rnn_cell" and self.framework != "torch":
            raise ValueError(f"model=rnn_cell needs framework=torch (given framework={self.framework})")
        if getattr(self.model, "recurrent_dropout", None) is not None and self.framework != "keras":
            raise ValueError(
                f"model.recurrent_dropout needs framework=keras (given framework={self.framework})"
            )
        return self
