"""The lines that a run prints, made from its metrics and its history only."""

from typing import Any

Row = dict[str, Any]


def announcement(metrics: Row, run_dir: str) -> str:
    """Return the lines before training: model, data, and where the results will be."""
    count = metrics.get("validation_examples")
    validation = f"{count:,} to validate, " if count else ""
    processes = metrics["hardware"].get("processes", 1)
    times = f"{processes} processes of " if processes > 1 else ""
    return (
        f"{metrics['app']}: {metrics['model']} in {metrics['framework']}, "
        f"{metrics['parameters']:,} parameters, {metrics['precision']}, "
        f"{times}{metrics['hardware']['threads']} threads, seed {metrics['seed']}\n"
        f"data: {metrics['dataset']} ({metrics['dataset_source']}): "
        f"{metrics['train_examples']:,} examples to train, {validation}"
        f"{metrics['test_examples']:,} to test\n"
        f"run folder: {run_dir}"
    )


def epoch_line(row: Row, epochs: int) -> str:
    """Return the line after an epoch; `row` is a row of history.csv."""
    validation = ""
    if "validation_loss" in row:
        validation = (
            f"validation loss {row['validation_loss']:.4f}  accuracy {row['validation_accuracy']:.2%}  "
        )
    return (
        f"epoch {int(row['epoch'])}/{epochs}  loss {row['train_loss']:.4f}  "
        f"accuracy {row['train_accuracy']:.2%}  {validation}{row['seconds']:.1f} s"
    )


def conclusion(metrics: Row) -> str:
    """Return the line after testing: accuracy, loss and training time."""
    correct = round(metrics["test_accuracy"] * metrics["test_examples"])
    note = " (embedded sample)" if metrics["embedded"] else ""
    return (
        f"test: accuracy {metrics['test_accuracy']:.2%} ({correct:,} of {metrics['test_examples']:,} "
        f"right), loss {metrics['test_loss']:.4f} on {metrics['dataset']}{note}; "
        f"{metrics['train_seconds']:.1f} s of training"
    )
