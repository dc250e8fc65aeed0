"""The keys that only this application has."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.config import AppConfig, Count, Data, Fraction, NotNegative, Positive, Section

IMAGES = 1437  # of the digits, beside the 360 to test with


class Networks(Section):
    name: Literal["networks"]
    depths: Annotated[
        list[Annotated[int, Field(ge=2, le=200)]],
        Field(min_length=1, max_length=3, description="hidden layers of the deep networks"),
    ]
    width: Annotated[Count, Field(description="of the deep networks' hidden layers")]
    deviation: Annotated[
        Positive, Field(description="standard deviation of the weights of initialization `normal`")
    ]
    recurrent: Annotated[Count, Field(description="width of the RNN and the LSTM")]
    clip_steps: Annotated[Count, Field(description="steps of the RNN with and without clipping")]
    clip_lr: Annotated[Positive, Field(description="learning rate of these steps")]
    hidden: Annotated[Count, Field(description="width of the two layers that overfit")]
    l1: Annotated[NotNegative, Field(description="strength of the L1 penalty that is compared")]
    l2: Annotated[NotNegative, Field(description="strength of the L2 penalty that is compared")]
    dropout: Annotated[Fraction, Field(description="share of zeros in the dropout compared")]
    patience: Annotated[Count, Field(description="early stopping: epochs without a lower validation loss")]


class FewDigits(Data):
    name: Literal["few_digits"]
    batch: Annotated[
        int, Field(ge=2, le=IMAGES, description="images whose gradient is taken, by depth and time")
    ]
    train_examples: Annotated[Count, Field(description="so few that a network learns them by heart")]
    validation_examples: Annotated[Count, Field(description="for early stopping")]
    wrong_labels: Annotated[
        float, Field(ge=0, le=0.5, description="share of the training labels drawn at random")
    ]


class Config(AppConfig):
    app: Literal["gradient_flow"]
    model: Networks
    data: FewDigits

    @model_validator(mode="after")
    def _precision_is_float64(self) -> "Config":
        if self.trainer.precision != "float64":
            raise ValueError(
                f"trainer.precision={self.trainer.precision}: gradients that vanish or explode "
                "leave every other range; it must be float64"
            )
        return self

    @model_validator(mode="after")
    def _depths_differ(self) -> "Config":
        if len(set(self.model.depths)) < len(self.model.depths):
            raise ValueError(f"model.depths={self.model.depths}: a depth stands there twice")
        return self

    @model_validator(mode="after")
    def _clipping_has_a_limit(self) -> "Config":
        if self.trainer.clip_norm is None:
            raise ValueError("trainer.clip_norm=null: it is the limit of the picture of clipping")
        return self

    @model_validator(mode="after")
    def _the_digits_are_enough(self) -> "Config":
        wanted = self.data.train_examples + self.data.validation_examples
        if wanted > IMAGES:
            raise ValueError(
                f"data.train_examples and data.validation_examples are {wanted:,} together; "
                f"there are {IMAGES:,} digits"
            )
        if self.trainer.batch_size > self.data.train_examples:
            raise ValueError(
                f"trainer.batch_size={self.trainer.batch_size} is larger than the training set "
                f"(data.train_examples={self.data.train_examples})"
            )
        return self
