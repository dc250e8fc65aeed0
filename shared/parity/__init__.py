"""The same weights in two frameworks. Nothing else in the project knows both.

torch's compiler (with Triton) must be loaded before TensorFlow: the other way round the process
aborts, and torch.optim loads it with the first optimizer. So it is loaded here, first.
"""

import torch._dynamo  # noqa: F401
