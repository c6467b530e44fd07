"""Errors of writing name the file and leave no partial file."""

import resource
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as PILImage

from newsimg.datatypes import Accepted, Image
from newsimg.engine.listing import write_listing
from newsimg.index.building.checkpoint import BuildCheckpoint, write_tables
from newsimg.index.folder import SavedImages
from newsimg.index.vectors import VectorIndex
from newsimg.reranker.caption_file import CaptionFile
from newsimg.storage.files import fetch_file, hash_file, write_atomically
from newsimg.storage.pictures.images import save_picture

LIMIT = 2000  # maximum file size, to simulate a full disk
TABLE = pa.table({"number": np.random.default_rng(0).integers(0, 1 << 60, 5000)})


@contextmanager
def limited_file_size(limit: int = LIMIT) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
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


def write_index(path: Path) -> None:
    index = VectorIndex(faiss.index_factory(8, "Flat", faiss.METRIC_INNER_PRODUCT))
    index.add(np.ones((LIMIT, 8), np.float32), np.arange(LIMIT))
    index.write(path)


def write_copy(path: Path) -> None:
    with write_atomically(path) as temporary:
        shutil.copyfile(sys.executable, temporary)


WRITERS = [write_bytes, write_lines, write_parquet, write_listed, write_rows, write_index]
WRITERS += [write_copy]


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_error_names_the_file_and_leaves_no_partial_file(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "folder" / "file"
    with pytest.raises(OSError, match="File too large") as error, limited_file_size():
        write(path)
    assert error.value.filename == str(path)
    assert list(path.parent.iterdir()) == []
    write(path)
    assert path.stat().st_size > LIMIT


def test_a_full_disk_error_of_an_opened_index_names_the_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"{i:0100}.jpg" for i in range(LIMIT)]
    table = pa.table({"row_id": range(LIMIT), "image_id": paths, "path": paths})
    pq.write_table(table, tmp_path / "images.parquet")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.raises(OSError, match="File too large") as error, limited_file_size():
        SavedImages(tmp_path / "images.parquet")
    assert Path(error.value.filename).parent == tmp_path / "temporary"
    assert list((tmp_path / "temporary").iterdir()) == []
    assert len(SavedImages(tmp_path / "images.parquet")) == LIMIT


def test_a_full_disk_error_of_the_last_bytes_of_an_index_is_told(tmp_path: Path) -> None:
    index = VectorIndex(faiss.index_factory(4, "IVF2,Flat", faiss.METRIC_INNER_PRODUCT))
    vectors = np.eye(4, dtype=np.float32)
    index.faiss.train(vectors)
    index.add(vectors, np.arange(4))
    index.write(tmp_path / "index")  # so small that FAISS would write it when it closes the file
    with pytest.raises(OSError, match="File too large") as error, limited_file_size(100):
        index.write(tmp_path / "index")
    assert error.value.filename == str(tmp_path / "index")
    assert VectorIndex.read(tmp_path / "index").n_vectors == 4


def test_a_full_disk_error_names_the_captions_file(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    with pytest.raises(OSError, match="File too large") as error, limited_file_size():
        append_captions(path)
    assert error.value.filename == str(path)


def test_a_full_disk_error_names_the_embeddings_file(tmp_path: Path) -> None:
    checkpoint = BuildCheckpoint(tmp_path / "building", {})
    image = Image("a", tmp_path / "a.jpg", digest="0" * 64)
    listing = write_listing([image], tmp_path / "listing", 10)
    checkpoint.resume(listing)
    found = Accepted(image, 10, 10, np.ones(LIMIT, np.float32))
    with pytest.raises(OSError, match="File too large") as error, limited_file_size():
        checkpoint.add(listing, 0, [found])
    assert error.value.filename == str(tmp_path / "building" / "embeddings.f32")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


def test_a_full_disk_error_names_the_downloaded_file(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(3 * LIMIT))
    digest = hash_file(tmp_path / "large")
    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/large"
        with pytest.raises(OSError, match="File too large") as error, limited_file_size():
            fetch_file(url, digest)
    assert str(error.value.filename).endswith("/large")


def test_an_error_names_the_final_path_instead_of_the_temporary_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / ("x" * 250)  # its temporary name is too long for any file system
    with pytest.raises(OSError, match="File name too long") as error, write_atomically(path):
        pass
    assert error.value.filename == str(path)


def test_a_full_disk_error_of_a_picture_has_the_systems_reason(tmp_path: Path) -> None:
    noise = PILImage.effect_noise((200, 200), 90)
    with pytest.raises(OSError, match="File too large"), limited_file_size():
        save_picture(noise, tmp_path / "a.jpg")
    save_picture(noise, tmp_path / "a.jpg", quality=30)
    assert PILImage.open(tmp_path / "a.jpg").size == (200, 200)
