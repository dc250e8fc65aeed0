"""The configuration of this application: network and data, beside the keys that all have."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.config import AppConfig, Count, Data, Init, Section

ROWS = 4


class TwoLayer(Section):
    name: Literal["two_layer", "published", "no_biases"]
    inputs: Annotated[int, Field(ge=2, le=3, description="2; 3: with a column of ones")]
    hidden: Annotated[Count, Field(description="width of the hidden layer")]
    bias: Annotated[bool, Field(description="whether the layers have biases")]
    loss: Annotated[Literal["binary_cross_entropy", "squared_error"], Field(description="what is minimized")]
    published_seed: Annotated[
        int | None, Field(ge=0, lt=2**32, description="draws weights from 0 to 1, as decks A and D do")
    ]
    init: Init = "torch"


class Xor(Data):
    name: Literal["xor"]
    repeats: Annotated[int, Field(ge=1, le=100_000, description="passes over the four rows in an epoch")]


class Config(AppConfig):
    app: Literal["xor"]
    model: TwoLayer
    data: Xor
    corrections: Annotated[bool, Field(description="compare the decks' programs and corrections, in seconds")]
    trace: Annotated[
        Count | None,
        Field(
            description="print the loss of every N-th step and the outputs with eight digits; null: neither"
        ),
    ] = None

    @model_validator(mode="after")
    def _keys_fit_together(self) -> "Config":
        if self.trainer.batch_size > ROWS:
            raise ValueError(
                f"trainer.batch_size={self.trainer.batch_size} is larger than the training set: "
                f"XOR has {ROWS} rows"
            )
        if self.model.published_seed is not None and self.model.init != "torch":
            raise ValueError(
                f"model.init={self.model.init} and model.published_seed={self.model.published_seed} both "
                "say how to draw the initial weights: set model.published_seed=null"
            )
        return self
