"""What tells one job from another: its config, and the code that it ran."""

import hashlib
import json
from functools import cache
from typing import Any

from newsimg.files import PACKAGE_DIR

PLACES = ("folder", "store", "tracking", "resume")


def hash_config(config: dict[str, Any]) -> str:
    """Return what a job's outcome depends on: the code, and the config but for places."""
    kept = {key: value for key, value in config.items() if key not in PLACES}
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.sha256(f"{hash_code()}{text}".encode()).hexdigest()


@cache
def hash_code() -> str:
    """Return the hash of the package's source: a change of it may change any number."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE_DIR.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
