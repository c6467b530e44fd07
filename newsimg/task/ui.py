"""Serve MLflow's UI."""

import signal
import threading
import webbrowser
from pathlib import Path

from newsimg.interfaces import Components, Task, Tracker
from newsimg.reporting.console import console


class UiTask(Task):
    """Serves MLflow's UI on 127.0.0.1 until Ctrl-C and opens the latest run or sweep.

    For runs on a tracking server it opens the server's page and ends.

    Args:
        tracker: Tracker of the runs.
        port: Port of the UI.
        open: Whether to show the page in the browser.

    Raises:
        ValueError: If the port is out of range.
    """

    tracked = False

    def __init__(self, *, tracker: Tracker, port: int, open: bool) -> None:
        if not 1 <= port <= 65535:
            raise ValueError(f"task.port must be in [1, 65535], got {port}")
        self.tracker = tracker
        self.port = port
        self.open = open

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`. It returns when the user presses Ctrl-C, and no metrics.

        Raises:
            ValueError: If there are no runs, or the port is in use.
            RuntimeError: If the UI does not start.
        """
        if threading.current_thread() is threading.main_thread():  # the terminal was closed
            signal.signal(signal.SIGHUP, signal.default_int_handler)
        console.print("starting MLflow ...")
        with self.tracker.serve(self.port) as (link, is_served_here):
            console.print(f"page           {link}")
            if self.open:
                webbrowser.open(link)
            if is_served_here:
                console.print("               only this machine can see it; Ctrl-C ends it")
                try:
                    threading.Event().wait()
                except KeyboardInterrupt:
                    console.print("closed")  # the regular end
        return {}
