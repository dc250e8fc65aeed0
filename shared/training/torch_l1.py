"""An L1 penalty for the optimizers of PyTorch, which have none."""

import torch


def add_l1_penalty(optimizer: torch.optim.Optimizer, l1: float) -> None:
    """Let each step first add l1 * sign(w) to the gradient of every weight w that is trained."""

    def add_gradients(*_: object) -> None:
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    # not alpha=l1, which torch refuses if the weight's dtype cannot hold it
                    weight.grad.add_(weight.detach().sign() * l1)

    optimizer.register_step_pre_hook(add_gradients)
