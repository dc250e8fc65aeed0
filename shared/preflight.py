"""Check that framework, processes, device, compiler, logger, run folder and run to resume can be used."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from shared import distributed, extras
from shared.config import AppConfig
from shared.errors import ConfigError
from shared.runs.folder import THIS_FOLDER


def check(config: AppConfig) -> None:
    """Raise ConfigError if what an unusual configuration needs is missing on this machine."""
    extras.check_framework(config.framework)
    if HydraConfig.initialized() and HydraConfig.get().job.chdir:
        raise ConfigError(
            "hydra.job.chdir=true is not supported: it would put data and outputs into the run folder"
        )
    if distributed.world_size() > 1 and config.framework != "torch":
        raise ConfigError(f"framework={config.framework} runs in one process: start it without torchrun")
    if config.trainer.compile or config.trainer.device in ("cuda", "mps"):  # torch only
        from shared.training.torch_compile import check_compiler
        from shared.training.torch_learner import device_of

        device_of(config.trainer)
        check_compiler(config.trainer)
    if config.logger is not None and distributed.rank() == 0:
        from shared.runs.loggers import check_installed

        check_installed(config.logger)
    if config.trainer.resume is None and Path(config.run_dir).resolve() == Path.cwd():
        raise ConfigError(THIS_FOLDER)
    if config.trainer.resume is not None and distributed.rank() == 0:
        from shared.runs.resume import find_run
        from shared.training.frameworks import resolve_auto

        find_run(resolve_auto(config))
