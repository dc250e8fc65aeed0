"""The keys of the configuration that only this application has."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.config import AppConfig, Count, Positive, Probability, Section, SplitData
from shared.data.config import Imdb, Reviews, TextFolder


class Network(Section):
    name: str
    embedding: Annotated[Count, Field(description="size of the embedding of a token")]
    std: Annotated[Positive, Field(description="standard deviation of the initial embeddings")]
    dropout: Annotated[Probability, Field(description="probability of dropout before the last layer")]


class SingleHead(Network):
    name: Literal["single_head"]


class MultiHead(Network):
    name: Literal["multi_head"]
    heads: Annotated[Count, Field(description="number of heads, which share the embedding equally")]

    @model_validator(mode="after")
    def _heads_divide_the_embedding(self) -> "MultiHead":
        if self.embedding % self.heads:
            raise ValueError(f"model.heads={self.heads} does not divide model.embedding={self.embedding}")
        return self


class MeanPooling(Network):
    name: Literal["mean_pooling"]


Model = SingleHead | MultiHead | MeanPooling


class Recall(SplitData):
    name: Literal["recall"]
    keys: Annotated[int, Field(ge=1, le=2_000, description="number of different keys")]
    values: Annotated[int, Field(ge=4, multiple_of=2, description="number of values; an example has half")]
    pairs: Annotated[Count, Field(description="number of pairs in an example")]
    longer: Annotated[list[Count], Field(description="numbers of pairs in additional test examples")]

    @model_validator(mode="after")
    def _lengths_are_possible(self) -> "Recall":
        for key, pairs in [("pairs", self.pairs), *(("longer", pairs) for pairs in self.longer)]:
            if pairs > self.keys:
                raise ValueError(
                    f"data.{key}: {pairs} pairs need as many different keys (given data.keys={self.keys})"
                )
            if pairs % (self.values // 2):
                raise ValueError(
                    f"data.{key}: {pairs} pairs cannot contain half of the values equally often "
                    f"(given data.values={self.values})"
                )
        if min(self.longer, default=self.pairs + 1) <= self.pairs:
            raise ValueError(
                f"data.longer: expected numbers larger than data.pairs={self.pairs}; set data.longer, too"
            )
        if len(set(self.longer)) < len(self.longer):
            raise ValueError(f"data.longer: a number occurs twice (given {self.longer})")
        return self


class Config(AppConfig):
    app: Literal["attention"]
    model: Annotated[Model, Field(discriminator="name")]
    data: Annotated[Recall | Imdb | Reviews | TextFolder, Field(discriminator="name")]

    @model_validator(mode="after")
    def _padding_is_masked(self) -> "Config":
        if getattr(self.data, "padding", "masked") != "masked":
            raise ValueError("attention needs data.padding=masked (given data.padding=front)")
        return self
