"""A file that cannot be written is named, and is not there by half."""

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from newsimg.datatypes import Image
from newsimg.engine.listing import write_listing
from newsimg.engine.validation import Accepted
from newsimg.index.building.checkpoint import BuildCheckpoint, write_tables
from newsimg.reranker.caption_file import CaptionFile
from newsimg.storage.files import fetch_file, hash_file, write_atomically

LIMIT = 2000  # bytes that a file may have, as if there were no more room
TABLE = pa.table({"number": np.random.default_rng(0).integers(0, 1 << 60, 5000)})


@contextmanager
def little_room() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_bytes(path: Path) -> None:
    with write_atomically(path) as temporary:
        temporary.write_bytes(bytes(3 * LIMIT))


def write_lines(path: Path) -> None:
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for i in range(LIMIT):
            file.write(f"line {i}\n")


def write_parquet(path: Path) -> None:
    with write_atomically(path) as temporary:
        pq.write_table(TABLE, temporary)


def write_listed(path: Path) -> None:
    write_listing((Image(f"{i:05}", path.parent / "none.jpg") for i in range(500)), path, 100)


def append_captions(path: Path) -> None:
    record = {"article_id": "a", "title": "t", "captions": ["word " * LIMIT]}
    CaptionFile(path, shared=True).append([record])


def write_rows(path: Path) -> None:
    write_tables(iter([TABLE]), TABLE.schema, path)


WRITERS = [write_bytes, write_lines, write_parquet, write_listed, write_rows]


@pytest.mark.parametrize("write", WRITERS)
def test_where_there_is_no_room_the_file_is_named_and_nothing_is_left(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "folder" / "file"
    with pytest.raises(OSError, match="File too large") as error, little_room():
        write(path)
    assert error.value.filename == str(path)
    assert list(path.parent.iterdir()) == []
    write(path)
    assert path.stat().st_size > LIMIT


def test_captions_that_find_no_room_are_named(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    with pytest.raises(OSError, match="File too large") as error, little_room():
        append_captions(path)
    assert error.value.filename == str(path)


def test_embeddings_that_find_no_room_are_named(tmp_path: Path) -> None:
    checkpoint = BuildCheckpoint(tmp_path / "building", {})
    image = Image("a", tmp_path / "a.jpg", digest="0" * 64)
    listing = write_listing([image], tmp_path / "listing", 10)
    checkpoint.resume(listing)
    found = Accepted(image, 10, 10, np.ones(LIMIT, np.float32))
    with pytest.raises(OSError, match="File too large") as error, little_room():
        checkpoint.add(listing, 0, [found])
    assert error.value.filename == str(tmp_path / "building" / "embeddings.f32")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def test_a_download_that_finds_no_room_is_named(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(3 * LIMIT))
    digest = hash_file(tmp_path / "large")
    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/large"
        with pytest.raises(OSError, match="File too large") as error, little_room():
            fetch_file(url, digest)
    assert str(error.value.filename).endswith("/large")


def test_a_folder_that_cannot_be_written_to_is_named_by_the_file_that_was_to_be_there(
    tmp_path: Path,
) -> None:
    path = tmp_path / ("x" * 250)  # its temporary name is too long for any file system
    with pytest.raises(OSError, match="File name too long") as error, write_atomically(path):
        pass
    assert error.value.filename == str(path)
