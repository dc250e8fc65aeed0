"""Imports Keras and TensorFlow without the notes that TensorFlow writes meanwhile.

They go straight to file descriptor 2, whatever its log level is, and look like warnings to whoever
reads them first. They are held back, and shown only when the import fails.
"""

import os
import sys
import tempfile

stderr = os.dup(2)
with tempfile.TemporaryFile() as notes:
    os.dup2(notes.fileno(), 2)
    try:
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
    except BaseException:
        notes.seek(0)
        os.write(stderr, notes.read())
        raise
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
