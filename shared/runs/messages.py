"""What a run says: lines of text made from its metrics and its history, and from nothing else."""

from typing import Any

Row = dict[str, Any]


def announcement(metrics: Row, run_dir: str) -> str:
    """Say what is about to be trained, on what data, and where the results will be."""
    count = metrics.get("validation_examples")
    validated = f"{count:,} to validate, " if count else ""
    processes = metrics["hardware"].get("processes", 1)
    together = f"{processes} processes of " if processes > 1 else ""
    return (
        f"{metrics['app']}: {metrics['model']} in {metrics['framework']}, "
        f"{metrics['parameters']:,} parameters, {metrics['precision']}, "
        f"{together}{metrics['hardware']['threads']} threads, seed {metrics['seed']}\n"
        f"data: {metrics['dataset']} ({metrics['dataset_source']}): "
        f"{metrics['train_examples']:,} examples to train, {validated}"
        f"{metrics['test_examples']:,} to test\n"
        f"run folder: {run_dir}"
    )


def epoch_line(row: Row, epochs: int) -> str:
    """Say how an epoch went; `row` is a row of history.csv."""
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
    """Say what the run reached."""
    hits = round(metrics["test_accuracy"] * metrics["test_examples"])
    stand_in = " (embedded sample)" if metrics["embedded"] else ""
    return (
        f"test: accuracy {metrics['test_accuracy']:.2%} ({hits:,} of {metrics['test_examples']:,} "
        f"right), loss {metrics['test_loss']:.4f} on {metrics['dataset']}{stand_in}; "
        f"{metrics['train_seconds']:.1f} s of training"
    )
