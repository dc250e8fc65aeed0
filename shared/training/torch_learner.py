"""Training in PyTorch."""

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from shared import distributed
from shared.config import AppConfig, Optimizer, Trainer
from shared.data.examples import Examples
from shared.distributed import available_cores
from shared.errors import ConfigError
from shared.training.losses import Loss
from shared.training.schedule import ALL, Indices, LrScales, lr_scale, parameter_group


class TorchLearner:
    """A network in PyTorch with its optimizer.

    Args:
        build_model: returns the network with its initial weights for `config.model`.
        config: seed, threads, device, precision and optimizer are taken from here.
        loss: name of the loss it is trained on.
        lr_scales: factors of the learning rate by parameter group; 0 freezes a group, including
            the statistics of its batch normalization.
    """

    def __init__(
        self,
        build_model: Callable[[Any], nn.Module],
        config: AppConfig,
        loss: Loss = "cross_entropy",
        lr_scales: LrScales = ALL,
    ) -> None:
        torch.set_num_threads(config.trainer.threads or available_cores())
        self.device = device_of(config.trainer)
        self.asynchronous = self.device.type != "cpu"
        self.gpu = {"gpu": torch.cuda.get_device_name(self.device)} if self.device.type == "cuda" else {}
        make_deterministic(self.device)
        torch.manual_seed(config.seed)
        self.precision = config.trainer.precision
        self.dtype = torch.float64 if self.precision == "float64" else torch.float32
        self.loss = loss
        self.clip_norm = config.trainer.clip_norm
        self.model = build_model(config.model).to(self.device, self.dtype)
        if config.trainer.compile:
            from shared.training.torch_compile import compile_model

            compile_model(self.model)
        self.optimizer = build_optimizer(self.model, config.optimizer, lr_scales)
        if config.optimizer.l1:
            from shared.training.torch_l1 import add_l1_penalty

            add_l1_penalty(self.optimizer, config.optimizer.l1)
        self.set_lr_scales(lr_scales)

    def step(self, examples: Examples, batch: Any, lr: float) -> tuple[Any, Any]:
        """Take one optimizer step; return the batch's mean loss and number of correct predictions."""
        inputs, labels = self.select(examples, batch)
        set_lr(self.optimizer, lr, self.lr_scales)
        self.optimizer.zero_grad()
        logits = self.forward(inputs)
        loss = self.mean_loss(logits.to(self.dtype), labels)
        loss.backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        return self.batch_scores(loss.detach(), count_correct(self.loss, logits, labels))

    # A learner of several processes replaces these four (torch_ddp.py).
    def select(self, examples: Examples, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs and labels of a batch, as `start_epoch` returned it."""
        if self.device.type == "cpu":
            return torch.as_tensor(examples.inputs[batch]), torch.as_tensor(examples.labels[batch])
        from shared.training import torch_inputs

        return torch_inputs.select(examples, batch)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, classes), products in bfloat16 where that is configured."""
        with self.autocast():
            logits: torch.Tensor = self.model(self.to_dtype(inputs))
        return logits

    def mean_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch."""
        return mean_loss(self.loss, logits, labels)

    def batch_scores(self, loss: torch.Tensor, correct: torch.Tensor) -> tuple[Any, Any]:
        """Return the mean loss and the number of correct predictions of a batch."""
        return loss, correct

    def to_device(self, examples: Examples) -> Examples:
        """Return the examples on the device; on a CPU they stay NumPy's, which is faster to index."""
        if self.device.type == "cpu":
            return examples
        from shared.training.torch_inputs import examples_to_device

        return examples_to_device(examples, self.device)

    def start_epoch(self, batches: Sequence[Indices]) -> Sequence[Any]:
        """Switch to training mode; return the batches on the device.

        Frozen layers stay in evaluation mode: their statistics would follow the batches.
        """
        for name, module in self.model.named_modules():
            module.training = lr_scale(name, self.lr_scales) > 0
        if self.device.type == "cpu":
            return batches
        from shared.training.torch_inputs import batches_to_device

        return batches_to_device(batches, self.device)

    def set_lr_scales(self, lr_scales: LrScales) -> None:
        """Use these factors from now on; the parameter groups stay the same."""
        self.lr_scales = lr_scales
        for group in self.optimizer.param_groups:
            for weight in group["params"]:
                weight.requires_grad_(lr_scales[group["name"]] > 0)
        self.parameters = sum(w.numel() for w in self.model.parameters() if w.requires_grad)

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the logits (N, classes) of one batch, in evaluation mode."""
        self.model.eval()
        with torch.inference_mode(), self.autocast():
            logits: torch.Tensor = self.model(self.to_dtype(torch.from_numpy(inputs).to(self.device)))
        return logits.cpu().double().numpy()

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return every weight by torch's name."""
        return {name: value.cpu().numpy() for name, value in self.model.state_dict().items()}

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Load what `weights` returned for a network like this one."""
        try:
            self.model.load_state_dict({name: torch.tensor(w) for name, w in weights.items()})
        except RuntimeError as error:
            raise ValueError(str(error)) from error

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return everything the next step depends on: weights, optimizer, random generator."""
        from shared.training import torch_state

        return torch_state.state(self), {}

    def load_state(self, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        from shared.training import torch_state

        torch_state.load_state(self, arrays)

    def to_dtype(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the inputs in the network's dtype; integers (word ids) stay integers."""
        return inputs.to(self.dtype) if inputs.is_floating_point() else inputs

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context with products in bfloat16 and everything else in float32, if configured."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


def device_of(trainer: Trainer) -> torch.device:
    """Return the device that `trainer.device` names; each process of a training has its own GPU.

    Raises:
        ConfigError: this machine does not have it.
    """
    enough = torch.cuda.is_available() and torch.cuda.device_count() >= distributed.local_world_size()
    kind = trainer.device
    if kind == "auto":
        kind = "cuda" if enough else "cpu"
    match kind:
        case "cuda" if not enough:
            raise ConfigError(
                f"trainer.device=cuda: PyTorch finds {torch.cuda.device_count()} CUDA devices for "
                f"{distributed.local_world_size()} processes; use trainer.device=cpu"
            )
        case "mps" if not torch.backends.mps.is_available():
            raise ConfigError(
                "trainer.device=mps: PyTorch finds no Apple GPU on this machine; use trainer.device=cpu"
            )
        case "mps" if distributed.world_size() > 1:
            raise ConfigError("trainer.device=mps runs in one process: start it without torchrun")
        case "cuda":
            return torch.device("cuda", distributed.local_rank())
    return torch.device(kind)


def make_deterministic(device: torch.device) -> None:
    """Refuse operations that are not deterministic; on a GPU, where some have no such form, warn."""
    # The same as use_deterministic_algorithms(True), which would also import Triton: 4 seconds, and
    # a crash if TensorFlow is in the same process.
    torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "warn")
    # Do not fill new memory with NaN before it is written to, which is meant for debugging.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def mean_loss(loss: Loss, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss of that name (losses.py), the mean over the batch."""
    if loss == "cross_entropy":
        return F.cross_entropy(logits, labels)
    targets = labels[:, None].to(logits.dtype)
    if loss == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(logits, targets)
    return F.mse_loss(logits.sigmoid(), targets)


def count_correct(loss: Loss, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the number of correct predictions in the batch."""
    predicted = logits.argmax(dim=1) if loss == "cross_entropy" else logits[:, 0] > 0
    return (predicted == labels).sum()


def build_optimizer(model: nn.Module, config: Optimizer, lr_scales: LrScales = ALL) -> torch.optim.Optimizer:
    """Return torch's optimizer of that name, with a parameter group for each of the `lr_scales`."""
    classes: dict[str, type[torch.optim.Optimizer]] = {
        "sgd": torch.optim.SGD,
        "momentum": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
        "adagrad": torch.optim.Adagrad,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }
    options = config.model_dump(exclude={"name", "formula", "l1"})
    on_cpu = all(weight.device.type == "cpu" for weight in model.parameters())
    if on_cpu and config.name != "rmsprop":  # RMSprop has no fused form; on a GPU others have none
        options["fused"] = True  # one pass over each weight: saves 2 % of the CNN's step
    groups: dict[str, list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            groups.setdefault(parameter_group(name, lr_scales), []).append(weight)
    named = [{"params": weights, "name": name} for name, weights in groups.items()]
    return without_compiler(classes[config.name])(named, **options)


def without_compiler(optimizer: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Return a torch optimizer whose methods do the same without importing torch's compiler.

    torch wraps some methods so that the compiler skips them, and imports it for that: a third of
    the time to the first step (docs/performance.md). Only models are compiled here, never a step.
    """
    wrapped = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = {name: inspect.unwrap(getattr(optimizer, name)) for name in wrapped}
    methods["step"] = torch.no_grad()(inspect.unwrap(optimizer.step))
    return type(optimizer.__name__, (optimizer,), methods)


def set_lr(optimizer: torch.optim.Optimizer, lr: float, lr_scales: LrScales = ALL) -> None:
    """Set the learning rate of each parameter group: `lr` times the factor of the group."""
    for group in optimizer.param_groups:
        group["lr"] = lr * lr_scales[group["name"]]
