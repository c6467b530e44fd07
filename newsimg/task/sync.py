"""Task that compares all runs with the tracking store and sends missing data."""

from collections import Counter
from pathlib import Path

from newsimg.interfaces import Components, Task
from newsimg.reporting.console import console, print_table
from newsimg.tracking.base import Tracker


class SyncTask(Task):
    """Sends the runs that are recorded in their folders but missing or incomplete in the store.

    The contents of the store are compared, so runs marked as sent are repaired as well; runs whose
    process has terminated are closed.

    Args:
        tracker: Tracker of the runs.
    """

    tracked = False
    parts = ()

    def __init__(self, *, tracker: Tracker) -> None:
        self.tracker = tracker

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            The numbers of runs that were sent, were complete already, and are still running.

        Raises:
            SystemExit: If runs could not be sent or compared, for a non-zero exit status.
            ValueError: If there is no store.
        """
        table = self.tracker.send_waiting()
        outcomes = [outcome.partition(":")[0] for outcome in table["outcome"]]
        is_listed = [outcome != "not compared" for outcome in outcomes]
        listed, unknown = table[is_listed], table[[not known for known in is_listed]]
        if len(listed):
            print_table(listed, "runs missing or incomplete in the tracking store")
        counts = Counter(outcomes)
        if len(unknown):
            reason = unknown["outcome"].iloc[0].partition(": ")[2]
            console.print(f"{len(unknown)} sent runs cannot be compared: {reason}")
        if counts["waiting"]:
            raise SystemExit(f"{counts['waiting']} of {len(listed)} runs could not be sent")
        if len(unknown):
            raise SystemExit(f"could not check whether {len(unknown)} sent runs are complete")
        console.print(
            f"{counts['sent']} runs sent, {counts['already there']} already there, "
            f"{counts['running']} running"
        )
        return {
            "n_sent": counts["sent"],
            "n_already_there": counts["already there"],
            "n_running": counts["running"],
        }
