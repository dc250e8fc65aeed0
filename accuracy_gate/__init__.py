"""The accuracy gate: results by seed in, verdict out. Needs only NumPy.

`results.py` holds and reads results, `rank_sum.py` and `signed_rank.py` test them, `plan.py` divides the
false-alarm rate, `decision.py` reaches the verdict, `detection.py` says what could have been detected, and
`report.py` prints it all. `cli.py` is the command `accuracy-gate`, `pytest_plugin.py` the fixture.

A name is imported when it is first used: every pytest session loads the plugin, and not all need NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accuracy_gate.decision import Comparison, Verdict, decide, default_plan, is_paired, look, refusal
    from accuracy_gate.detection import power
    from accuracy_gate.plan import FALSE_ALARM_RATE, Plan
    from accuracy_gate.results import Baseline, InvalidResults, Metric, Results, Run, parse

__all__ = [
    "FALSE_ALARM_RATE",
    "Baseline",
    "Comparison",
    "InvalidResults",
    "Metric",
    "Plan",
    "Results",
    "Run",
    "Verdict",
    "decide",
    "default_plan",
    "is_paired",
    "look",
    "parse",
    "power",
    "refusal",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in ("results", "plan", "decision", "detection"):
            if hasattr(found := importlib.import_module(f"accuracy_gate.{module}"), name):
                return getattr(found, name)
    raise AttributeError(f"module 'accuracy_gate' has no attribute {name!r}")
