"""What tells one job from another: its config, the files it reads, and the code that it ran."""

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from newsimg.storage.files import PACKAGE_DIR

PLACES = ("folder", "store", "tracking", "resume")
INPUTS = ("data", "index")  # groups that name what is read, and nothing that a run writes


def hash_config(config: dict[str, Any]) -> str:
    """Return what a job's outcome depends on: the code, the config but for places, and its inputs.

    A table of articles or a saved index that was changed is another one, by size and time; pictures
    that were exchanged in a folder go unnoticed.
    """
    kept = {key: value for key, value in config.items() if key not in PLACES}
    inputs = [list(_find_files(config.get(group))) for group in INPUTS]
    text = json.dumps([kept, inputs], sort_keys=True, default=str)
    return hashlib.sha256(f"{hash_code()}{text}".encode()).hexdigest()


def _find_files(value: Any) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time of the files, and of the manifests of the folders, in a config."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _find_files(part)
    elif isinstance(value, str):
        path = Path(value).expanduser()
        for file in (path, path / "manifest.json"):
            if file.is_file():
                yield str(file), file.stat().st_size, file.stat().st_mtime_ns


@cache
def hash_code() -> str:
    """Return the hash of the package's source: a change of it may change any number."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE_DIR.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
