"""Listing and verification of the cache, model by model; damaged files are tolerated."""

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
UNKNOWN = f"unknown: no readable {DESCRIPTION}"
NO_MODEL = ("hashes", "truncated")  # kinds that no model computes


class UnreadableDescriptionError(ValueError):
    """A `model.json` is damaged."""


@dataclass(frozen=True)
class CacheEntry:
    """The cached rows of one model."""

    kind: str
    model: str
    folder: Path
    n_items: int
    n_bytes: int
    age_days: float


def list_entries(root: Path) -> list[CacheEntry]:
    """Return one entry per model, sorted by kind; damaged files are logged and count 0 items.

    Raises:
        OSError: If a folder or file is not readable.
    """
    folders = [path for path in sorted(root.glob("*/*")) if path.is_dir()]
    entries = [_describe(folder) for folder in folders if folder.parent.name not in NO_MODEL]
    return [entry for entry in entries if entry is not None]


def verify_entry(entry: CacheEntry) -> int:
    """Read every file of a model; rename damaged files to *.damaged and return their number.

    Raises:
        OSError: If a file cannot be read or renamed.
    """
    n_damaged = ShardFolder(entry.folder).verify()
    path = entry.folder / DESCRIPTION
    try:
        read_fingerprint(path)
    except FileNotFoundError:
        return n_damaged
    except UnreadableDescriptionError as error:
        path.replace(path.with_suffix(".damaged"))
        log.warning("%s; set aside, the next run of the model writes it again", error)
        n_damaged += 1
    return n_damaged


def read_fingerprint(path: Path) -> str:
    """Return the model fingerprint in a `model.json`.

    Raises:
        UnreadableDescriptionError: If the file is damaged; names it.
        OSError: If the file is not readable.
    """
    try:
        fingerprint = json.loads(path.read_bytes())["fingerprint"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UnreadableDescriptionError(f"damaged cache file {path}") from error
    if not isinstance(fingerprint, str):
        raise UnreadableDescriptionError(f"damaged cache file {path}")
    return fingerprint


def _describe(folder: Path) -> CacheEntry | None:
    description = folder / DESCRIPTION
    paths = list(folder.glob("*.parquet"))
    if not paths and not description.exists():
        return None
    n_items = n_bytes = 0
    changed = []
    for path in paths or [description]:
        with suppress(FileNotFoundError):  # merged by its writer in the meantime
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
        log.warning("no %s in %s: the model is unknown", description.name, description.parent)
    except UnreadableDescriptionError as error:
        log.warning("%s; run newsimg task=cache task.action=verify", error)
    return UNKNOWN


def _count_rows(path: Path) -> int:
    try:
        with pq.ParquetFile(path) as file:
            return int(file.metadata.num_rows)
    except Exception as error:  # corrupt Parquet files raise many types of errors
        if isinstance(error, OSError) and error.errno:
            raise
        log.warning("damaged cache file %s; run newsimg task=cache task.action=verify", path)
        return 0
