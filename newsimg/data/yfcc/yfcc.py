"""Layout of YFCC100M in its bucket: 4,096 shards of pictures and one database of metadata.

A picture's name is the MD5 of its URL at Flickr, written as 16 hex numbers without leading zeros;
the first three digits are its shard, and `data/images/000/` is shard 000. Names therefore rarely
begin with 0: shard 000 is expected to have 6 pictures, the first 250 shards 380,000 (43 GiB), the
first 300 shards 1.5 million (170 GiB), and each later one 27,000 (3 GiB). Titles, tags and names in
the database are URL-encoded. The database is split into one `000.gz` of JSON lines per shard, the
format of the package yfcc100m (1.0.1: `convert_metadata.py`, `tools.py`).

Thomee et al., "YFCC100M: The New Data in Multimedia Research", CACM 59(2), 2016.
"""

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote_plus

from newsimg.data.yfcc.s3 import RemoteObject
from newsimg.storage.files import name_full_disk, write_atomically
from newsimg.storage.progress import Progress

N_SHARDS = 4096
N_ROWS = 100_000_000  # of the database
PICTURES = "data/images"
DATABASE_KEY = "tools/etc/yfcc100m_dataset.sql"
TABLE = "yfcc100m_dataset"
BUFFER_ROWS = 256  # rows per shard in memory
# Column of the Parquet file -> column of the database.
COLUMNS = {
    "photo_id": "photoid",
    "title": "title",
    "description": "description",
    "tags": "usertags",
    "date": "datetaken",
    "licence": "licensename",
    "licence_url": "licenseurl",
    "author": "unickname",
    "page_url": "pageurl",
}


def name_shards(n_shards: int) -> list[str]:
    """Return the names of the first shards: 000, 001, ... fff."""
    return [f"{number:03x}" for number in range(n_shards)]


def hash_url(url: str) -> str:
    """Return the name of the picture with the Flickr URL `url`."""
    digest = hashlib.md5(url.encode(), usedforsecurity=False).digest()
    return "".join(f"{byte:x}" for byte in digest)


def split_database(database: Path, folder: Path, shards: Sequence[str]) -> None:
    """Write the metadata of the pictures of `shards` to one .gz file per shard.

    Args:
        database: The SQLite file of the bucket, which is read sequentially.
        folder: Output folder; the files appear when all are complete.
        shards: Names of shards.

    Raises:
        OSError: If the disk is full; names `folder`.
        ValueError: If the file is not the YFCC100M database.
    """
    with name_full_disk(folder):
        _split_database(database, folder, shards)


def _split_database(database: Path, folder: Path, shards: Sequence[str]) -> None:
    building = folder / ".building"
    if building.is_dir():  # left by a killed job
        shutil.rmtree(building)
    building.mkdir(parents=True)
    lines: dict[str, list[str]] = {shard: [] for shard in shards}
    for shard, line in _stream_rows(database, set(shards)):
        lines[shard].append(line)
        if len(lines[shard]) >= BUFFER_ROWS:
            _append(building / f"{shard}.gz", lines[shard])
            lines[shard] = []
    for shard in shards:
        _append(building / f"{shard}.gz", lines[shard])
        with write_atomically(folder / f"{shard}.gz") as temporary:
            os.replace(building / f"{shard}.gz", temporary)
    building.rmdir()


def _stream_rows(database: Path, shards: set[str]) -> Iterator[tuple[str, str]]:
    try:
        with closing(
            sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)
        ) as connection:
            rows = connection.execute(f"SELECT * FROM {TABLE}")
            names = [column[0] for column in rows.description]
            if missing := {"downloadurl", *COLUMNS.values()} - set(names):
                raise ValueError(f"{database} has no column {', '.join(sorted(missing))}")
            url_at = names.index("downloadurl")
            for row in Progress("Reading the database", N_ROWS).track(rows):
                key = hash_url(row[url_at])
                if key[:3] in shards:
                    yield key[:3], json.dumps({**dict(zip(names, row, strict=True)), "key": key})
    except sqlite3.Error as error:
        raise ValueError(f"cannot read the database {database}: {error}") from error


def _append(path: Path, lines: list[str]) -> None:
    """Append lines to a .gz file as a new gzip member."""
    with gzip.open(path, "at", encoding="utf-8", compresslevel=1) as file:
        file.writelines(line + "\n" for line in lines)


def read_rows(path: Path) -> dict[str, dict[str, object]]:
    """Return the metadata in a shard's .gz file, keyed by picture name.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = map(json.loads, file)
            return {row["key"]: row for row in rows}
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"damaged metadata file {path}, delete it: {error!r}") from error


def write_metadata(
    path: Path, objects: Sequence[RemoteObject], rows: Mapping[str, Mapping[str, object]]
) -> None:
    """Write the Parquet file of a shard: one row per picture, in order.

    A picture without metadata has a row with its name only.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = []
    for remote in objects:
        known = rows.get(Path(remote.key).stem, {})
        texts = {name: known.get(source) for name, source in COLUMNS.items()}
        decoded = {name: unquote_plus(str(text)) for name, text in texts.items() if text}
        table.append({"member": remote.key, **decoded})
    schema = pa.schema([(name, pa.string()) for name in ("member", *COLUMNS)])
    with write_atomically(path) as temporary:
        pq.write_table(pa.Table.from_pylist(table, schema), temporary, compression="zstd")
