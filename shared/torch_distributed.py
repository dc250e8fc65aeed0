"""torch.distributed, with errors that say what to do when a process is lost."""

import atexit
import contextlib
import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from shared.errors import LostProcess

# A process that dies is noticed at once. This limit is for one that hangs; rank 0 may need minutes
# between two steps to write a checkpoint to a slow disk.
TIMEOUT = timedelta(minutes=10)
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}


def join_processes(device: torch.device) -> None:
    """Join the other processes of this training until this one ends; later calls change nothing.

    The jobs of a sweep share the process group: joining anew, a fast process would meet one that has
    not left the last group yet.

    Raises:
        LostProcess: a process does not join.
    """
    if dist.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Python's signal handlers do not run while this blocks: SIGTERM must end it at once.
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with lost_process("cannot connect to the other processes of this training"):
            store, rank, world_size = next(rendezvous("env://", timeout=TIMEOUT))
            if os.environ.get("TORCHELASTIC_RUN_ID") == "none":
                # After a restart, torchrun's static rendezvous still has the addresses of dead processes.
                store = PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
            dist.init_process_group(
                BACKENDS[device.type], store=store, rank=rank, world_size=world_size, timeout=TIMEOUT
            )
    finally:
        signal.signal(signal.SIGTERM, handler)
    atexit.register(dist.destroy_process_group)


@contextlib.contextmanager
def lost_process(message: str = "another process of this training has ended") -> Iterator[None]:
    """Turn a broken connection into LostProcess."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise LostProcess(
            f"{message}; if there is a checkpoint, trainer.resume=latest continues from it\n"
            f"({str(error).splitlines()[0][:90]})"
        ) from error


def broadcast_object(value: Any) -> Any:
    """Return rank 0's value."""
    values = [value]
    with lost_process():
        dist.broadcast_object_list(values, device=torch.device("cpu"))
    return values[0]


def all_gather_object(value: Any) -> list[Any]:
    """Return the values of all processes, ordered by rank."""
    values = [None] * dist.get_world_size()
    with lost_process():
        dist.all_gather_object(values, value)
    return values


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Replace a tensor by its sum over all processes, and return it."""
    with lost_process():
        dist.all_reduce(tensor)
    return tensor


def any_rank(flag: bool) -> bool:
    """Return whether `flag` is true in any process."""
    return all_reduce_sum(torch.tensor(float(flag))).item() > 0


class Shard:
    """The examples of a batch that this process computes: every N-th of N processes.

    If a batch has fewer examples than there are processes, one without any computes the first
    example with weight 0, because it has to take part in every all-reduce.

    Attributes:
        batch_size: size of the whole batch.
        rows: the positions in the batch.
        weight: size of the shard divided by the size of the batch.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self.batch_size, self.rows, self.weight = 0, slice(None), 1.0

    def select(self, batch_size: int) -> slice:
        """Move on to the next batch; return the positions of this process."""
        size = len(range(self.rank, batch_size, self.world_size))
        self.batch_size, self.weight = batch_size, size / batch_size
        self.rows = slice(self.rank, None, self.world_size) if size else slice(1)
        return self.rows
