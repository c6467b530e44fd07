"""What the cache keeps, model by model: listed and verified whatever is damaged in it."""

import json
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from newsimg.storage.shards import ShardFolder

log = logging.getLogger(__name__)

DESCRIPTION = "model.json"
UNKNOWN = f"unknown, without a readable {DESCRIPTION}"
NO_MODEL = ("hashes", "truncated")  # of files, and of texts: no model computes them


class UnreadableDescriptionError(ValueError):
    """A `model.json` is not what was written."""


@dataclass(frozen=True)
class CacheEntry:
    """What the cache keeps of one model."""

    kind: str
    model: str
    folder: Path
    n_items: int
    n_bytes: int
    age_days: float


def list_entries(root: Path) -> list[CacheEntry]:
    """Return what is kept of each model, by kind and model; damaged files are named and count 0.

    Raises:
        OSError: If a folder or a file may not be read.
    """
    folders = [path for path in sorted(root.glob("*/*")) if path.is_dir()]
    entries = [_describe(folder) for folder in folders if folder.parent.name not in NO_MODEL]
    return [entry for entry in entries if entry is not None]


def verify_entry(entry: CacheEntry) -> int:
    """Read every file of a model; set damaged ones aside and return how many there were.

    Raises:
        OSError: If a file may not be read or set aside.
    """
    n_damaged = ShardFolder(entry.folder).verify()
    path = entry.folder / DESCRIPTION
    try:
        read_fingerprint(path)
    except FileNotFoundError:
        return n_damaged
    except UnreadableDescriptionError as error:
        path.replace(path.with_suffix(".damaged"))
        log.warning("%s; it is set aside, to be written again by the next run of its model", error)
        n_damaged += 1
    return n_damaged


def read_fingerprint(path: Path) -> str:
    """Return the fingerprint of the model that a folder's `model.json` describes.

    Raises:
        UnreadableDescriptionError: If it holds none; names the file.
        OSError: If it may not be read.
    """
    try:
        fingerprint = json.loads(path.read_bytes())["fingerprint"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UnreadableDescriptionError(f"a damaged file of the cache: {path}") from error
    if not isinstance(fingerprint, str):
        raise UnreadableDescriptionError(f"a damaged file of the cache: {path}")
    return fingerprint


def _describe(folder: Path) -> CacheEntry | None:
    description = folder / DESCRIPTION
    paths = list(folder.glob("*.parquet"))
    if not paths and not description.exists():
        return None
    n_items = n_bytes = 0
    changed = []
    for path in paths or [description]:
        with suppress(FileNotFoundError):  # its writer has merged it into another one meanwhile
            status = path.stat()
            changed.append(status.st_mtime)
            if path != description:
                n_items += _count_rows(path)
                n_bytes += status.st_size
    return CacheEntry(
        kind=folder.parent.name,
        model=_name_model(description),
        folder=folder,
        n_items=n_items,
        n_bytes=n_bytes,
        age_days=(time.time() - max(changed, default=time.time())) / 86400,
    )


def _name_model(description: Path) -> str:
    try:
        return read_fingerprint(description)
    except FileNotFoundError:
        log.warning("the cache does not tell the model of %s", description.parent)
    except UnreadableDescriptionError as error:
        log.warning("%s, see task=cache task.action=verify", error)
    return UNKNOWN


def _count_rows(path: Path) -> int:
    try:
        with pq.ParquetFile(path) as file:
            return int(file.metadata.num_rows)
    except Exception as error:  # altered bytes make Parquet raise errors of all kinds
        if isinstance(error, OSError) and error.errno:
            raise
        log.warning("a damaged file of the cache, see task=cache task.action=verify: %s", path)
        return 0
