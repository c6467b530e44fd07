"""Changes to a process in strange surroundings; Python imports this at its start."""

import os
import random
import time
from typing import Any

DAYS_BACK = 40  # CLOCK=back: the clock stands before all files were written
LONGEST = 0.3  # RENAMES=late: seconds until others see a rename

if os.environ.get("CLOCK") == "back":
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() - DAYS_BACK * 86400
    time.time_ns = lambda: now_ns() - DAYS_BACK * 86400 * 10**9

if os.environ.get("RENAMES") == "late":
    replace, rename = os.replace, os.rename
    chance = random.Random(int(os.environ["NUMBER"]))  # of the process among those at once

    def replace_late(*args: Any, **kwargs: Any) -> None:
        """Rename after a while, as other machines see it on a network file system."""
        time.sleep(chance.uniform(0, LONGEST))
        replace(*args, **kwargs)

    def rename_late(*args: Any, **kwargs: Any) -> None:
        """Like `replace_late`."""
        time.sleep(chance.uniform(0, LONGEST))
        rename(*args, **kwargs)

    os.replace, os.rename = replace_late, rename_late
