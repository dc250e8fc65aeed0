"""The training loop in PyTorch."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from shared import distributed
from shared.config import AppConfig, Optimizer
from shared.data.examples import Examples
from shared.runs.environment import available_cores
from shared.training.checkpoint import below
from shared.training.loop import Indices
from shared.training.losses import Loss
from shared.training.lr_scale import ALL, LrScales, factor, part
from shared.training.memory import keep_freed_memory
from shared.training.torch_device import device_of
from shared.training.torch_distributed import Share
from shared.training.torch_inputs import batch_of, placed
from shared.training.torch_layers import over_processes


class TorchLearner:
    """A network in PyTorch with its optimizer, in one process or in each of several.

    Args:
        build: makes the network, with freshly drawn weights, from `config.model`.
        config: seed, threads, device, precision and optimizer are taken from here.
        loss: what it is trained on.
        rates: how fast its parts learn; a part with the factor 0 stays as it is, the statistics of
            its batch normalization included.

    Attributes:
        asynchronous: whether the device goes on by itself: what it is asked for is waited for.
    """

    def __init__(
        self,
        build: Callable[[Any], nn.Module],
        config: AppConfig,
        loss: Loss = "cross_entropy",
        rates: LrScales = ALL,
    ) -> None:
        keep_freed_memory()
        torch.set_num_threads(config.trainer.threads or available_cores())
        self.device = device_of(config.trainer)
        self.asynchronous = self.device.type != "cpu"
        # The same as use_deterministic_algorithms(True), which would also import Triton: 4 seconds,
        # and a crash where TensorFlow is in the same process. Not all has such a form on a GPU.
        torch.set_deterministic_debug_mode("error" if self.device.type == "cpu" else "warn")
        # That also fills all new memory with NaN, before it is written to: a search for errors.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.manual_seed(config.seed)
        self.precision = config.trainer.precision
        self.dtype = torch.float64 if self.precision == "float64" else torch.float32
        self.loss = loss
        self.clip_norm = config.trainer.clip_norm
        self.share = Share()
        self.model = build(config.model).to(self.device, self.dtype)
        if distributed.world_size() > 1:
            over_processes(self.model, self.share)
        if config.trainer.compile:
            compile_network(self.model)
        self.optimizer = build_optimizer(self.model, config.optimizer, rates)
        self.set_lr_scales(rates)

    def set_lr_scales(self, rates: LrScales) -> None:
        """Let the network learn at these rates from now on; its parts stay the same."""
        self.lr_scales = rates
        for group in self.optimizer.param_groups:
            for weight in group["params"]:
                weight.requires_grad_(rates[group["part"]] > 0)
        self.parameters = sum(w.numel() for w in self.model.parameters() if w.requires_grad)

    def placed(self, examples: Examples) -> Examples:
        """Return the examples with inputs and labels on the device, whatever they were."""
        labels: Any = torch.as_tensor(examples.labels).to(self.device)
        return Examples(placed(examples.inputs, self.device), labels)

    def train(self, examples: Examples, steps: Sequence[tuple[Indices, float]]) -> Iterator[tuple[Any, Any]]:
        """Take a step for each (batch, learning rate); yield the batch's mean loss and its hits.

        On a GPU nothing waits for it from the first step to the last, and what is yielded are
        tensors there: whoever makes numbers of them waits for the step.
        """
        if not steps:
            return
        inputs = placed(examples.inputs, self.device)
        labels = torch.as_tensor(examples.labels).to(self.device)
        order = torch.from_numpy(np.concatenate([batch for batch, _ in steps])).to(self.device)
        weights = list(self.model.parameters())
        self._training_mode()
        batches = order.split([len(batch) for batch, _ in steps])
        for (batch, rate), rows in zip(steps, batches, strict=True):
            share = self.share.take(len(batch))
            own = rows[share]
            set_learning_rate(self.optimizer, rate, self.lr_scales)
            self.optimizer.zero_grad()
            with self._autocast():
                logits = self.model(self._floats(batch_of(inputs, own, batch[share])))
            loss = mean_loss(self.loss, logits.to(self.dtype), labels[own]) * self.share.weight
            loss.backward()
            scores = self.share.together(loss, hits(self.loss, logits, labels[own]), weights)
            if self.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
            self.optimizer.step()
            yield scores if self.asynchronous else (scores[0].item(), int(scores[1]))

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the logits (N, classes) of one batch, in evaluation mode."""
        self.model.eval()
        with torch.inference_mode(), self._autocast():
            given = torch.from_numpy(inputs).to(self.device)
            logits: torch.Tensor = self.model(self._floats(given))
        return logits.cpu().double().numpy()

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return every weight under torch's name for it."""
        return {name: value.cpu().numpy() for name, value in self.model.state_dict().items()}

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `weights` of such a network has given."""
        try:
            self.model.load_state_dict({name: torch.tensor(w) for name, w in weights.items()})
        except RuntimeError as error:
            raise ValueError(str(error)) from error

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return all that its next step depends on: weights, optimizer, torch's generator."""
        names: dict[Any, str] = {w: name for name, w in self.model.named_parameters()}
        slots = {
            f"optimizer/{names[weight]}/{slot}": value.cpu().numpy()
            for weight, state in self.optimizer.state.items()
            for slot, value in state.items()
            if value is not None
        }
        weights = {f"weights/{name}": value for name, value in self.weights().items()}
        return {**weights, **slots, self._random(): self._generator().get_rng_state().numpy()}, {}

    def load_state(self, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any]) -> None:
        """Take over what `state` of such a network has returned."""
        self.load_weights(below("weights/", arrays))
        weights = dict(self.model.named_parameters())
        for key, array in below("optimizer/", arrays).items():
            name, _, slot = key.rpartition("/")
            value = torch.tensor(array)
            if value.shape == weights[name].shape:
                # A fused step goes through weight and state as they lie in memory.
                value = torch.empty_like(weights[name], dtype=value.dtype).copy_(value)
            self.optimizer.state[weights[name]][slot] = value
        if self._random() in arrays:  # not where it goes on with another device
            self._generator().set_rng_state(torch.tensor(arrays[self._random()]))

    def _random(self) -> str:
        """Return the name of the generator's state: each kind of device has its own."""
        return "random" if self.device.type == "cpu" else f"random_{self.device.type}"

    def _generator(self) -> Any:
        """Return the module with the functions of the device's generator."""
        return torch if self.device.type == "cpu" else torch.get_device_module(self.device)

    def _training_mode(self) -> None:
        """Switch to it, but for frozen layers: their statistics would follow the batches."""
        for name, module in self.model.named_modules():
            module.training = factor(name, self.lr_scales) > 0

    def _floats(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the inputs in the network's dtype; integers (indices of words) stay integers."""
        return inputs.to(self.dtype) if inputs.is_floating_point() else inputs

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Products in bfloat16, everything else in float32, where that is asked for."""
        if self.device.type != "cpu":
            enabled = self.precision == "bfloat16"
            return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16")


def compile_network(model: nn.Module) -> None:
    """Let torch compile the network's forward and backward pass when it first computes them.

    It stays the same module with the same names of weights; dropout draws the same numbers.
    """
    import torch._inductor.config as inductor  # the compiler: seconds

    inductor.fallback_random = True
    model.compile()


def mean_loss(loss: Loss, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss of that name (shared/training/losses.py), the mean over the batch."""
    if loss == "cross_entropy":
        return F.cross_entropy(logits, labels)
    targets = labels[:, None].to(logits.dtype)
    if loss == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(logits, targets)
    return F.mse_loss(logits.sigmoid(), targets)


def hits(loss: Loss, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return how many of the batch's examples are classified right, one number."""
    predicted = logits.argmax(dim=1) if loss == "cross_entropy" else logits[:, 0] > 0
    return (predicted == labels).sum()


def build_optimizer(model: nn.Module, config: Optimizer, rates: LrScales = ALL) -> torch.optim.Optimizer:
    """Return torch's own optimizer of that name: `optimizer.formula` is `torch` here.

    It has a group of parameters for each of the `rates`; `part` says which.
    """
    classes: dict[str, type[torch.optim.Optimizer]] = {
        "sgd": torch.optim.SGD,
        "momentum": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
        "adagrad": torch.optim.Adagrad,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }
    arguments = config.model_dump(exclude={"name", "formula"})
    on_cpu = all(weight.device.type == "cpu" for weight in model.parameters())
    if on_cpu and config.name != "rmsprop":  # which has no fused form; nor have all on a GPU
        arguments["fused"] = True  # one pass over each weight: a fiftieth of the step saved
    groups: dict[str, list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            groups.setdefault(part(name, rates), []).append(weight)
    named = [{"params": weights, "part": key} for key, weights in groups.items()]
    return without_compiler(classes[config.name])(named, **arguments)


def without_compiler(optimizer: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Return an optimizer of torch's whose methods do the same and do not import its compiler.

    torch wraps some of them so that the compiler leaves them alone when it compiles their caller,
    and imports it for that: a third of the time until the first step (docs/performance.md). Here
    nobody compiles a step, only networks, and no step is `differentiable`: it runs without grad.
    """
    wrapped = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = {name: inspect.unwrap(getattr(optimizer, name)) for name in wrapped}
    methods["step"] = torch.no_grad()(inspect.unwrap(optimizer.step))
    return type(optimizer.__name__, (optimizer,), methods)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float, rates: LrScales = ALL) -> None:
    """Use `rate` from the next step on, in each group times the factor of its part."""
    for group in optimizer.param_groups:
        group["lr"] = rate * rates[group["part"]]
