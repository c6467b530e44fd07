"""The result of one part of the campaign."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Result:
    """Counts of one part.

    Attributes:
        name: What was damaged.
        tried: Number of trials.
        outcomes: Outcome -> number of trials.
        faults: A line for each trial with a forbidden outcome: crash, hang, lost or shifted data.
    """

    name: str
    tried: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, outcome: str, fault: str = "") -> None:
        """Count a trial, and its fault if there is one."""
        self.tried += 1
        self.outcomes[outcome] += 1
        if fault:
            self.faults.append(fault)
