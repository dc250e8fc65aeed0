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

# torch's threads wait for each other in a busy loop. libgomp's default of 300,000 rounds slows two trainings
# on the same cores down by a factor of 8 to 70; 2,000 cost a training alone at most a tenth.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
