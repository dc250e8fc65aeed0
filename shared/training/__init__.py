"""Training: one short loop a framework, and what the loops share.

torch_learner.py   the loop in PyTorch
keras_learner.py   the loop in Keras
fit.py             epochs around either of them: batches, validation, history
schedule.py        the learning rate of every step
"""

import os

# Keras and TensorFlow read these when they are first imported, which happens below here.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # their errors reach us as exceptions
