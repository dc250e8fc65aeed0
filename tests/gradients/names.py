"""The names of all checks, in the order of the table; nothing is imported to know them."""

NAMES = (
    "AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "BCEWithLogitsLoss", "Conv2d",
    "CrossEntropyLoss", "Dropout", "Embedding", "Flatten", "GELU", "GRU", "l1_penalty",
    "l2_penalty", "LayerNorm", "Linear", "LSTM", "MaxPool2d", "MSELoss", "MultiheadAttention",
    "ReLU", "Residual", "RNN", "ScaledDotProductAttention", "Sequential", "Sigmoid", "Softmax",
    "Tanh", "SGD", "RMSprop", "Adagrad", "Adam", "AdamW", "clip_grad_norm_", "clip_grad_value_",
)  # fmt: skip
