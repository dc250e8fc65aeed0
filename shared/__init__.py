"""What the applications share. Nothing in here imports from `apps` or `tools`."""

import os
import sys
from pathlib import Path

if sys.platform == "win32":  # it has neither fcntl nor make
    sys.exit("error: Windows is not supported; use the Windows Subsystem for Linux (WSL)")

CONF = Path(__file__).parents[1] / "conf"  # the files that Hydra composes

# Keras and TensorFlow read these when they are first imported.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its errors arrive as exceptions
