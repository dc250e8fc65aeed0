"""Imports Keras and TensorFlow quietly and without packages that are not needed.

TensorFlow writes notes to file descriptor 2 during the import, whatever its log level, and they look
like warnings. They are shown only if the import fails.

Keras imports scikit-learn, Matplotlib, SciPy and IPython if they are installed, for wrappers, plots and
image transformations that are not used here: a third of the import's time. They are hidden during the import.
"""

import os
import sys
import tempfile

unneeded = {"sklearn", "matplotlib", "scipy", "IPython"} - sys.modules.keys()
for name in unneeded:
    sys.modules[name] = None  # type: ignore[assignment]  # makes importing it raise ImportError
stderr = os.dup(2)
with tempfile.TemporaryFile() as notes:
    os.dup2(notes.fileno(), 2)
    try:
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
    except Exception:
        notes.seek(0)
        os.write(stderr, notes.read())
        raise
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        for name in unneeded:
            sys.modules.pop(name, None)
