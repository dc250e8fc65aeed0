"""The accuracy gate's statistics: results in, verdicts out.

It knows no application and no framework: a `Record` holds the results of one case by seed, wherever
they come from. `strict.py` reads JSON, `ranks.py` and `pairs.py` have the tests, `plan.py` how the
false-alarm rate is shared out, `decision.py` the verdict, `power.py` what could be detected,
`report.py` how it is told.
"""

from accuracy_gate.decision import Judgement, Verdict, decide, refusal, share_seeds
from accuracy_gate.plan import FALSE_ALARMS, Plan
from accuracy_gate.records import Record, Run, parse_records

__all__ = [
    "FALSE_ALARMS",
    "Judgement",
    "Plan",
    "Record",
    "Run",
    "Verdict",
    "decide",
    "parse_records",
    "refusal",
    "share_seeds",
]
