"""L1, L2, dropout and early stopping on a network that memorizes its few training examples."""

from collections.abc import Mapping, Sequence

from apps.gradient_flow.config import Config
from apps.gradient_flow.figure import Figure, Row, column, listing, number, where
from shared import charts
from shared.training.early_stopping import best_epoch
from shared.training.loop import Evaluation

GAP = "gap: test minus training loss"


def measure(results: Mapping[str, tuple[list[Row], Evaluation]]) -> tuple[list[Row], list[Row]]:
    """Return a row for every epoch of every method, and one for every method's final losses.

    `results` has each method's rows of history.csv and its scores of the test set.
    """
    rows, table = [], []
    for method, (history, test) in results.items():
        rows += [{"method": method} | {key: row[key] for key in row if key != "seconds"} for row in history]
        best = best_epoch(column(history, "validation_loss"))
        final = history[best - 1] if method == "early stopping" else history[-1]
        table.append(
            {
                "method": method,
                "epoch taken": final["epoch"],
                "training loss": final["train_loss"],
                "validation loss": final["validation_loss"],
                "test loss": test.loss,
                "test accuracy": test.accuracy,
                GAP: test.loss - final["train_loss"],
            }
        )
    return rows, table


def figure(rows: Sequence[Row], table: Sequence[Row], config: Config) -> Figure:
    """Return the chart; its caption compares each method's gap and test loss with those of nothing."""
    plain, *others = table
    comparisons = {}
    for row in others:
        narrower = "narrower" if row[GAP] < plain[GAP] else "not narrower"
        lower = "lower" if row["test loss"] < plain["test loss"] else "not lower"
        losses = f"gap {number(row[GAP])}, {narrower}; test loss {number(row['test loss'])}, {lower}"
        comparisons[row["method"]] = losses
    wrong = config.data.wrong_labels
    noise = f", {wrong:.0%} of their labels drawn at random" if wrong else ""
    caption = (
        f"Networks trained on {config.data.train_examples} digits{noise}. With nothing against "
        f"overfitting, the training loss ends at {number(plain['training loss'])} and the test loss at "
        f"{number(plain['test loss'])}: a gap of {number(plain[GAP])}. {listing(comparisons)}. Early "
        f"stopping takes the weights of epoch {others[0]['epoch taken']}, where the validation "
        "loss was lowest. No method sees the test set before the end."
    )
    title = "Overfitting, and L1, L2, dropout and early stopping against it"
    alt = "Training and validation loss by epoch, in four panels: nothing, L1, L2 and dropout."
    return Figure("overfitting", title, caption, alt, rows, draw(rows), table)


def draw(rows: Sequence[Row]) -> bytes:
    """Draw both losses by epoch, a panel for each training run."""
    chart = charts.figure("Memorizing: loss by epoch, and what prevents it")
    panels = chart.subplots(2, 2, sharex=True, sharey=True).ravel()
    titles = {"nothing": "nothing, and early stopping", "L1": "L1", "L2": "L2", "dropout": "dropout"}
    for index, (axes, (method, title)) in enumerate(zip(panels, titles.items(), strict=True)):
        one = where(rows, method=method)
        charts.curve(axes, 0, column(one, "epoch"), column(one, "train_loss"), "training")
        charts.curve(axes, 1, column(one, "epoch"), column(one, "validation_loss"), "validation")
        y_label = "" if index % 2 else "cross-entropy (nats)"
        charts.label_axes(axes, "epoch" if index > 1 else "", y_label, title)
    best = best_epoch(column(where(rows, method="early stopping"), "validation_loss"))
    panels[0].axvline(best, color="black", linestyle=":", linewidth=2, label="early stopping takes this")
    charts.legend_below(chart, panels[0], 3)
    return charts.png(chart)
