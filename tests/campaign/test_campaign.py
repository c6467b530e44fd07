"""The fault campaign at a fraction of its size."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
RUN = Path(__file__).with_name("run.py")
SHARES = {
    "pictures": 0.1,
    "articles": 0.1,
    "archives": 0.1,
    "command_lines": 0.05,
    "kept_files": 0.1,
    "kill_embedding": 0.02,
    "kill_index_append": 0.02,
}


@pytest.mark.parametrize("name", SHARES)
def test_damage_is_refused_or_repaired_and_never_changes_results(
    name: str, sample_cache: Path, tmp_path: Path
) -> None:
    command = [sys.executable, RUN, "--only", name, "--share", str(SHARES[name])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " tried, 0 faults, " in done.stdout
    if not name.startswith("kill"):
        assert "," in done.stdout.splitlines()[-1]  # more than one outcome was seen
