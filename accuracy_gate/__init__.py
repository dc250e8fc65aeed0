"""The accuracy gate's statistics: results in, verdict out. Needs only NumPy.

A `Record` holds the results of one case by seed, whatever program produced them. `records.py` reads
them from JSON, `rank_sum.py` and `signed_rank.py` test them, `plan.py` divides the false-alarm rate,
`decision.py` reaches the verdict, `power.py` says what could have been detected, and `report.py`
prints it all.
"""

from accuracy_gate.decision import Comparison, Verdict, decide, final_verdict, is_paired, refusal
from accuracy_gate.plan import FALSE_ALARM_RATE, Plan
from accuracy_gate.records import InvalidResults, Record, Run, parse_records

__all__ = [
    "FALSE_ALARM_RATE",
    "Comparison",
    "InvalidResults",
    "Plan",
    "Record",
    "Run",
    "Verdict",
    "decide",
    "final_verdict",
    "is_paired",
    "parse_records",
    "refusal",
]
