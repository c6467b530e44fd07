"""Run the fault campaign: python tests/campaign/run.py [--share 0.1] [--only pictures] [--seed 0].

Prints a table of trials, outcomes and faults; the exit status is 1 if there were faults.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import archives
import articles
import command_lines
import interruptions
import kept_files
import pictures
import scenarios
import shared_store
import surroundings
from result import Result

# Name -> part, number of trials of a whole campaign.
PARTS: dict[str, tuple[Callable[[int, int, Path], Result], int]] = {
    "pictures": (pictures.run, 10_000),
    "articles": (articles.run, 10_000),
    "archives": (archives.run, 2_000),
    "command_lines": (command_lines.run, 1_000),
    "kept_files": (kept_files.run, 1_000),
    "store_sqlite": (shared_store.make_part("sqlite"), 400),
    "store_postgres": (shared_store.make_part("postgres"), 400),
    **{name: (surroundings.make_part(name), 10) for name in surroundings.SURROUNDINGS},
    **{
        f"{kind}_{scenario.name.replace(' ', '_')}": (interruptions.make_part(scenario, full), n)
        for kind, full, n in (("kill", False, 100), ("full", True, 20))
        for scenario in scenarios.SCENARIOS
    },
}


def main() -> int:
    """Run the parts and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the trials")
    parser.add_argument("--only", choices=list(PARTS), help="one part")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # of files that are set aside, thousands of lines
    faults: list[str] = []
    for name in [options.only] if options.only else PARTS:
        part, n = PARTS[name]
        start = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix=f"newsimg-{name}-"))
        result = part(max(1, round(n * options.share)), options.seed, folder)
        outcomes = ", ".join(f"{count:,} {kind}" for kind, count in result.outcomes.most_common())
        took = f"{time.monotonic() - start:.0f} s"
        print(f"{result.name}: {result.tried:,} tried, {len(result.faults)} faults, {took}")
        print(f"    {outcomes}", flush=True)
        faults += result.faults
    for fault in faults:
        print(fault)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
