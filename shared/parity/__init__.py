"""The same weights in two frameworks; within shared/, only this package knows both.

The process aborts if torch's compiler (with Triton) is loaded after TensorFlow, and the first optimizer
of torch.optim loads it. So it is loaded here, first.
"""

import torch._dynamo  # noqa: F401
