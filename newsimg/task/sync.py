"""Send the runs that a tracking server has missed."""

from collections import Counter
from pathlib import Path

from newsimg.interfaces import Components, Task
from newsimg.reporting.console import console, print_table
from newsimg.tracking.base import Tracker


class SyncTask(Task):
    """Sends what is kept of runs in their folders and not yet, or not all, in the store.

    Args:
        tracker: Whose runs.
    """

    tracked = False

    def __init__(self, *, tracker: Tracker) -> None:
        self.tracker = tracker

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            The number of runs that were sent, were there already, and are still running.

        Raises:
            SystemExit: If runs could not be sent, so that scripts notice.
            ValueError: If there is no store.
        """
        table = self.tracker.send_waiting()
        if len(table):
            print_table(table, "runs that were not sent")
        outcomes = Counter(outcome.partition(":")[0] for outcome in table["outcome"])
        n_sent, n_there, n_running, n_waiting = (
            outcomes[outcome] for outcome in ("sent", "already there", "running", "waiting")
        )
        if n_waiting:
            raise SystemExit(f"{n_waiting} of {len(table)} runs still wait to be sent")
        console.print(
            f"{n_sent} runs sent, {n_there} already there, {n_running} running; none waits"
        )
        return {"n_sent": n_sent, "n_already_there": n_there, "n_running": n_running}
