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

# torch's threads busy-wait for each other. libgomp's default of 300,000 spins makes two trainings on the same
# cores 8 to 70 times slower; 2,000 spins slow a single one by at most 15 % (a small network).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
