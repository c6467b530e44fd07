"""Damaged files of the cache, of an index, of a build checkpoint and of run records."""

import dataclasses
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mutations import mutate
from result import Result

from newsimg.datatypes import Accepted, FloatArray, Image, Rejected
from newsimg.engine.listing import Listing, write_listing
from newsimg.index.building.checkpoint import BuildCheckpoint
from newsimg.index.folder import open_saved_index
from newsimg.storage.cache import OutputCache
from newsimg.storage.files import PACKAGE_DIR
from newsimg.tracking.record import RunRecord, create_record, read_record

sys.path.append(str(Path(__file__).parents[1] / "support"))
from indexing import IndexMaker, fill, open_clip

MODEL = '{"model": "a"}'
KEYS = [f"{i:064x}" for i in range(40)]
DIM = 128  # of the sample's CLIP
IDENTITY = {"fingerprint": "a", "chunk_size": 5}
Outcome = tuple[str, str]  # outcome, fault


def make_rows(seed: int, n: int, dim: int) -> FloatArray:
    """Return random unit vectors, (n, dim)."""
    rows = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def damage_one(folder: Path, rng: random.Random) -> str:
    """Damage one file below a folder; return its name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    path = rng.choice(paths)
    before = path.read_bytes()
    others = [one.read_bytes() for one in paths]
    while (after := mutate(before, rng, others)) == before:
        pass
    path.write_bytes(after)
    return path.name


class DamagedCache:
    """Embeddings in a cache: all rows must be the true ones, computed again where needed."""

    name = "damaged cache files"

    def __init__(self, folder: Path) -> None:
        self.whole = folder / "whole"
        self.rows = make_rows(5, len(KEYS), 16)
        self._read(self.whole)

    def check(self, folder: Path, name: str) -> Outcome:
        """Read the cache twice: the second time after the repair."""
        for _ in range(2):
            if not np.array_equal(self._read(folder), self.rows):
                return "OTHER ROWS", name
        return "computed again, or not affected", ""

    def _read(self, folder: Path) -> FloatArray:
        cache = OutputCache(folder)
        return cache.get_or_compute("embeddings", MODEL, KEYS, self.rows.__getitem__, "x", 10)


class DamagedIndex:
    """An index of 30 pictures: a search gives the same results or is refused."""

    name = "damaged index files"

    def __init__(self, folder: Path) -> None:
        self.maker = IndexMaker(open_clip(PACKAGE_DIR / "sample" / "clip"), folder)
        self.maker(fill(folder / "pictures", 30), index_dir="whole")
        self.whole = folder / "whole"
        self.expected = self._search(self.whole)

    def check(self, folder: Path, name: str) -> Outcome:
        """Search the damaged index."""
        try:
            found = self._search(folder)
        except (ValueError, FileNotFoundError) as error:
            return ("refused", "") if str(folder) in str(error) else ("NO NAME", str(error))
        return ("not affected", "") if found == self.expected else ("OTHER RESULTS", name)

    def _search(self, folder: Path) -> tuple[list[str], bytes]:
        saved = open_saved_index(folder, self.maker.backbone.fingerprint)
        scores, rows = saved.search(make_rows(1, 8, DIM), 5)
        return [saved.images[row].image_id for row in rows.ravel()], scores.tobytes()


class DamagedCheckpoint:
    """A build checkpoint after four of five chunks: the build ends with the same rows."""

    name = "damaged build checkpoints"

    def __init__(self, folder: Path) -> None:
        self.images = [Image(f"{i:03d}", folder / f"{i:03d}.jpg") for i in range(25)]
        self.listing = write_listing(self.images, folder / "listing.arrow", 5)
        self.whole = folder / "whole"
        self._build(self.whole, until=4)
        shutil.copytree(self.whole, folder / "all")
        self.expected = self._build(folder / "all", until=5)

    def check(self, folder: Path, name: str) -> Outcome:
        """Resume the build."""
        same = self._build(folder, until=5) == self.expected
        return ("computed again, or not affected", "") if same else ("OTHER ROWS", name)

    def _build(self, folder: Path, until: int) -> tuple[bytes, list[dict[str, object]]]:
        checkpoint = BuildCheckpoint(folder, IDENTITY)
        for number in range(checkpoint.resume(self.listing), until):
            checkpoint.add(self.listing, number, list(self._embed(self.listing, number)))
        images = [row for table in checkpoint.read_images(0) for row in table.to_pylist()]
        return checkpoint.open_embeddings().tobytes(), images

    def _embed(self, listing: Listing, number: int) -> list[Accepted | Rejected]:
        results: list[Accepted | Rejected] = []
        for one, row in zip(listing.read_chunk(number), make_rows(number, 5, 8), strict=True):
            assert isinstance(one, Image)
            digest = one.image_id.zfill(64)
            if one.image_id.endswith("3"):
                results.append(Rejected(one.uri, "truncated"))
            else:
                image = dataclasses.replace(one, digest=digest)
                results.append(Accepted(image, 40, 30, row))
        return results


class DamagedRecord:
    """The record of a run: it is read as it was written or refused by name."""

    name = "damaged run records"

    def __init__(self, folder: Path) -> None:
        self.whole = folder / "whole"
        self.record = RunRecord(
            experiment="sample",
            name="aesthetics 0.15",
            params={"weight": "0.15", "reranker": "aesthetics"},
            tags={"config_hash": "ab" * 32},
            metrics={"reranked/hits_at_1": 0.42},
        )
        create_record(self.record, self.whole)

    def check(self, folder: Path, name: str) -> Outcome:
        """Read the record."""
        (path,) = folder.rglob("*.json")
        try:
            found = read_record(path)
        except ValueError as error:
            return ("refused", "") if str(path) in str(error) else ("NO NAME", str(error))
        return ("not affected", "") if found == self.record else ("OTHER CONTENT", name)


KINDS: tuple[Callable[[Path], DamagedCache | DamagedIndex | DamagedCheckpoint | DamagedRecord], ...]
KINDS = (DamagedCache, DamagedIndex, DamagedCheckpoint, DamagedRecord)


def run(n: int, seed: int, folder: Path) -> Result:
    """Damage `n` copies of the four kinds in turn."""
    result = Result("damaged cache, index, checkpoint and record files")
    rng = random.Random(seed)
    kinds = []
    for kind in KINDS:
        place = folder / kind.__name__
        place.mkdir()
        kinds.append(kind(place))
    for i in range(n):
        kind = kinds[i % len(kinds)]
        copy = folder / f"{i:05d}"
        shutil.copytree(kind.whole, copy)
        name = damage_one(copy, rng)
        try:
            outcome, fault = kind.check(copy, name)
        except Exception as error:
            outcome, fault = "ERROR", f"{copy}, {name}: {type(error).__name__}: {error}"
        result.add(outcome, fault and f"{kind.name}: {fault}")
        if not fault:
            shutil.rmtree(copy)
    return result
