"""The configuration keys that only this application has."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.config import AppConfig, Count, Data, Fraction, NotNegative, Positive, Section

IMAGES = 1437  # training images of the embedded digits


class Networks(Section):
    name: Literal["networks"]
    depths: Annotated[
        list[Annotated[int, Field(ge=2, le=200)]],
        Field(min_length=1, max_length=3, description="numbers of hidden layers of the deep networks"),
    ]
    width: Annotated[Count, Field(description="units in each hidden layer of the deep networks")]
    deviation: Annotated[Positive, Field(description="standard deviation of initialization `normal`")]
    recurrent: Annotated[Count, Field(description="units of the RNN and the LSTM")]
    clip_steps: Annotated[Count, Field(description="steps of the RNN with and without gradient clipping")]
    clip_lr: Annotated[Positive, Field(description="learning rate of these steps")]
    hidden: Annotated[Count, Field(description="units in both hidden layers of the network that overfits")]
    l1: Annotated[NotNegative, Field(description="strength of the L1 penalty")]
    l2: Annotated[NotNegative, Field(description="strength of the L2 penalty")]
    dropout: Annotated[Fraction, Field(description="probability of a zero in dropout")]
    patience: Annotated[Count, Field(description="patience of early stopping; trainer.patience overrides it")]


class FewDigits(Data):
    name: Literal["few_digits"]
    batch: Annotated[
        int, Field(ge=2, le=IMAGES, description="images whose gradients are shown by layer and time step")
    ]
    train_examples: Annotated[Count, Field(description="few enough for a network to memorize")]
    validation_examples: Annotated[Count, Field(description="for early stopping")]
    wrong_labels: Annotated[
        float, Field(ge=0, le=0.5, description="fraction of the training labels drawn at random")
    ]


class Config(AppConfig):
    app: Literal["gradient_flow"]
    model: Networks
    data: FewDigits

    @model_validator(mode="after")
    def _keys_fit_together(self) -> "Config":
        depths, data, trainer = self.model.depths, self.data, self.trainer
        if trainer.precision != "float64":
            raise ValueError(
                f"trainer.precision={trainer.precision}: only float64 has the range for gradients "
                "that vanish or explode"
            )
        if len(set(depths)) < len(depths):
            raise ValueError(f"model.depths={depths}: the depths must differ")
        if trainer.clip_norm is None:
            raise ValueError("trainer.clip_norm=null: the chart of gradient clipping needs a limit")
        if (needed := data.train_examples + data.validation_examples) > IMAGES:
            raise ValueError(
                f"data.train_examples and data.validation_examples add up to {needed:,}, "
                f"but there are only {IMAGES:,} digits"
            )
        if trainer.batch_size > data.train_examples:
            raise ValueError(
                f"trainer.batch_size={trainer.batch_size} is larger than the training set "
                f"(data.train_examples={data.train_examples})"
            )
        return self
