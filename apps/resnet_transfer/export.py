"""The network of a finished run as an ONNX file, held against it on the whole test set.

python -m apps.resnet_transfer.export RUN [--out FILE]
"""

import sys

from apps.resnet_transfer.evaluate import APPLICATION
from tools.export import Export, main

EXPORT = Export(
    APPLICATION,
    "pictures",
    ("batch",),
    lambda run: (
        f"pictures (batch, {run.config.data.size}, {run.config.data.size}, 3), uint8: red, "
        "green and blue, 0 to 255"
    ),
)

if __name__ == "__main__":
    sys.exit(main(EXPORT, "apps.resnet_transfer.export"))
