"""What a run says at its start and at its end."""

from shared.config import AppConfig
from shared.runs.folder import RunFolder


def announce(run: RunFolder, config: AppConfig, source: str) -> None:
    """Say what is about to be trained, on what data, and where the results will be."""
    metrics = run.metrics
    print(
        f"{metrics['app']}: {metrics['model']} in {metrics['framework']}, "
        f"{metrics['parameters']:,} parameters, {config.trainer.precision}, "
        f"{metrics['hardware']['threads']} threads, seed {metrics['seed']}\n"
        f"data: {metrics['dataset']} ({source}): {metrics['train_examples']:,} examples to train, "
        f"{metrics['validation_examples']:,} to validate, {metrics['test_examples']:,} to test\n"
        f"run folder: {run.path}",
        flush=True,
    )


def conclude(run: RunFolder) -> None:
    """Say what the run reached."""
    metrics = run.metrics
    hits = round(metrics["test_accuracy"] * metrics["test_examples"])
    stand_in = " (embedded sample)" if metrics["embedded"] else ""
    print(
        f"test: accuracy {metrics['test_accuracy']:.2%} ({hits:,} of {metrics['test_examples']:,} "
        f"right), loss {metrics['test_loss']:.4f} on {metrics['dataset']}{stand_in}; "
        f"{metrics['train_seconds']:.1f} s of training",
        flush=True,
    )
