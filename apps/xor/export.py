"""The network of a finished run as an ONNX file, held against it on all four rows.

python -m apps.xor.export RUN [--out FILE]
"""

import sys

from apps.xor.evaluate import APPLICATION
from tools.export import Export, main

EXPORT = Export(
    APPLICATION,
    "rows",
    ("batch",),
    lambda run: (
        f"rows (batch, {run.config.model.inputs}): two bits"
        f"{' and a one' if run.config.model.inputs == 3 else ''}"
    ),
)

if __name__ == "__main__":
    sys.exit(main(EXPORT, "apps.xor.export"))
