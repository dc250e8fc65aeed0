"""Imports Keras and TensorFlow without what nobody here needs of them.

The notes that TensorFlow writes meanwhile go straight to file descriptor 2, whatever its log level
is, and look like warnings to whoever reads them first. They are held back, and shown only when the
import fails.

Keras imports scikit-learn and Matplotlib where they are installed, for wrappers and pictures of its
own that are not used here, and does without where they are not: a third of the import's time. So
they are not to be found meanwhile.
"""

import os
import sys
import tempfile

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its errors arrive as exceptions

unneeded = {"sklearn", "matplotlib"} - sys.modules.keys()
for name in unneeded:
    sys.modules[name] = None  # type: ignore[assignment]  # to import it raises ImportError
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
