"""Compare all runs with the tracking store, and send what it has missed."""

from collections import Counter
from pathlib import Path

from newsimg.interfaces import Components, Task
from newsimg.reporting.console import console, print_table
from newsimg.tracking.base import Tracker


class SyncTask(Task):
    """Sends what is kept of runs in their folders and not yet, or not all, in the store.

    It goes by what the store has, so that it also mends runs that were taken for sent, and ends
    those whose process has ended without a word.

    Args:
        tracker: Whose runs.
    """

    tracked = False
    parts = ()

    def __init__(self, *, tracker: Tracker) -> None:
        self.tracker = tracker

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            The number of runs that were sent, were there already, and are still running.

        Raises:
            SystemExit: If runs could not be sent or compared, so that scripts notice.
            ValueError: If there is no store.
        """
        table = self.tracker.send_waiting()
        outcomes = [outcome.partition(":")[0] for outcome in table["outcome"]]
        is_listed = [outcome != "not compared" for outcome in outcomes]
        listed, unknown = table[is_listed], table[[not known for known in is_listed]]
        if len(listed):
            print_table(listed, "runs that were not sent, or not all of them")
        counts = Counter(outcomes)
        if len(unknown):
            reason = unknown["outcome"].iloc[0].partition(": ")[2]
            console.print(f"{len(unknown)} runs that were sent cannot be compared: {reason}")
        if counts["waiting"]:
            raise SystemExit(f"{counts['waiting']} of {len(listed)} runs still wait to be sent")
        if len(unknown):
            raise SystemExit("whether all runs are there is not known")
        console.print(
            f"{counts['sent']} runs sent, {counts['already there']} already there, "
            f"{counts['running']} running; none waits"
        )
        return {
            "n_sent": counts["sent"],
            "n_already_there": counts["already there"],
            "n_running": counts["running"],
        }
