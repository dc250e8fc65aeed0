"""Training: one short loop a framework, and what the loops share.

torch_learner.py      the loop in PyTorch
keras_learner.py      the loop in Keras
keras_optimizers.py   torch's update formulas in Keras
fit.py                epochs around either loop: batches, validation, history
checkpoint.py         where a training stands, on disk: an interrupted one goes on to the same bits
schedule.py           the learning rate of every step
"""

import os

# Keras and TensorFlow read these when they are first imported, which happens below here.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # their errors reach us as exceptions
