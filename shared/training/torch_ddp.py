"""Several processes, started by torchrun, that take the steps of one.

Each computes its shard of every batch; DistributedDataParallel adds the gradients up. What keeps
the losses equal to those of a single process is here: weights for shards of different sizes,
dropout masks drawn for the whole batch, and batch statistics over all shards.
"""

import contextlib
import inspect
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP  # noqa: N817  (the usual name)

from shared import distributed
from shared.config import AppConfig
from shared.data.examples import Examples
from shared.torch_distributed import Shard, all_reduce_sum, lost_process
from shared.training.losses import Loss
from shared.training.schedule import ALL, LrScales
from shared.training.torch_dropout import ByteDropout
from shared.training.torch_learner import TorchLearner, device_of


class DistributedTorchLearner(TorchLearner):
    """A TorchLearner in each of several processes; arguments as there."""

    def __init__(
        self,
        build_model: Callable[[Any], nn.Module],
        config: AppConfig,
        loss: Loss = "cross_entropy",
        lr_scales: LrScales = ALL,
    ) -> None:
        self.shard = Shard(distributed.rank(), distributed.world_size())
        device = device_of(config.trainer)
        super().__init__(
            lambda model: shard_layers(build_model(model), self.shard, device), config, loss, lr_scales
        )

    def step(self, examples: Examples, batch: Any, lr: float) -> tuple[Any, Any]:
        """Take the step together with the other processes; return the scores of the whole batch."""
        with lost_process():
            return super().step(examples, batch, lr)

    def set_lr_scales(self, lr_scales: LrScales) -> None:
        """Use these factors from now on, and tell DistributedDataParallel which weights are frozen."""
        super().set_lr_scales(lr_scales)
        stub = SimpleNamespace(utils=SimpleNamespace(get_optimize_ddp_mode=str))
        compiler = vars(torch).setdefault("_dynamo", stub)  # for the mode that the constructor reads
        with lost_process():  # buffers need no broadcast: batch statistics are those of all shards
            self._ddp = WithoutCompiler(self.model, forward_sync_buffers=False, gradient_as_bucket_view=True)
        if compiler is stub:
            del vars(torch)["_dynamo"]

    def select(self, examples: Examples, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs and labels of this process's shard."""
        return super().select(examples, batch[self.shard.select(len(batch))])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of the shard."""
        with self.autocast():
            logits: torch.Tensor = self._ddp(self.to_dtype(inputs))
        return logits

    def mean_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss whose gradients, averaged over all processes, are those of the batch."""
        return super().mean_loss(logits, labels) * (self.shard.weight * distributed.world_size())

    def batch_scores(self, loss: torch.Tensor, correct: torch.Tensor) -> tuple[Any, Any]:
        """Return the mean loss and the number of correct predictions of the whole batch."""
        correct = correct.to(loss) * bool(self.shard.weight)
        total = all_reduce_sum(torch.stack([loss / distributed.world_size(), correct]))
        return total[0], total[1]


class WithoutCompiler(DDP):
    """Does not import torch's compiler, which takes each process a second and 150 MiB."""

    _inside_ddp_forward = contextlib.contextmanager(inspect.unwrap(DDP._inside_ddp_forward))


def shard_layers(model: nn.Module, shard: Shard, device: torch.device) -> nn.Module:
    """Make the layers that depend on the whole batch work on a shard of it."""
    if device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for layer in model.modules():
        if type(layer) in SHARDED:
            layer.__class__ = SHARDED[type(layer)]  # weights and statistics stay the same tensors
            cast(Any, layer).shard = shard
    return model


class ShardedDropout(ByteDropout):
    """ByteDropout with the mask that a single process would draw."""

    shard: Shard

    def batch_shape(self, x: torch.Tensor) -> torch.Size:
        """Return the shape of the whole batch."""
        return torch.Size([self.shard.batch_size, *x.shape[1:]])

    def rows(self) -> slice:
        """Return the rows of the shard."""
        return self.shard.rows


class AllReduceSum(torch.autograd.Function):
    """y = sum of x over all processes; the loss is such a sum, too: dx = sum of dy."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        """Return y."""
        return all_reduce_sum(x.clone())

    @staticmethod
    def backward(context: Any, dy: torch.Tensor) -> torch.Tensor:
        """Return dx."""
        return all_reduce_sum(dy.clone())


class ShardedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalization with the statistics of the whole batch (nn.SyncBatchNorm needs a GPU)."""

    shard: Shard

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x (N, C, ...) normalized for each channel, in its own dtype."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        values = x.to(self.weight.dtype)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        channels = (-1, *(1 for _ in x.shape[2:]))
        counts = float(self.shard.weight > 0)  # 0 for a shard without examples
        count = self.shard.batch_size * math.prod(x.shape[2:])
        mean = AllReduceSum.apply(values.sum(axes) * counts) / count
        centered = values - mean.view(channels)
        variance = AllReduceSum.apply((centered**2).sum(axes) * counts) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight / (variance + self.eps).sqrt()
        return (centered * scale.view(channels) + self.bias.view(channels)).to(x.dtype)


class ShardedBatchNorm1d(ShardedBatchNorm, nn.BatchNorm1d):
    """nn.BatchNorm1d on a shard."""


class ShardedBatchNorm2d(ShardedBatchNorm, nn.BatchNorm2d):
    """nn.BatchNorm2d on a shard."""


SHARDED: dict[type[nn.Module], type[nn.Module]] = {
    ByteDropout: ShardedDropout,
    nn.BatchNorm1d: ShardedBatchNorm1d,
    nn.BatchNorm2d: ShardedBatchNorm2d,
}
