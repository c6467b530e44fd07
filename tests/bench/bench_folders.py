"""Open time, memory and speed of `index=saved` over many folders.

    python tests/bench/bench_folders.py --folder FOLDER [--n-folders 100] [--n 1000000] [--dim 64]

All folders have pictures of their own and, to save the time of building them, the same random
vectors: a vector must be found once per folder, by all of them with the same score. The first
opening reads all files to check their hashes, the second takes the hashes from the cache. Each
measurement is made in a process of its own.
"""

import argparse
import multiprocessing
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench_scale import draw
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from newsimg.datatypes import FloatArray, Image
from newsimg.index.base import GrowingIndex
from newsimg.index.building.checkpoint import IMAGES, REJECTED, ROW_GROUP
from newsimg.index.folder import FILES, install_files
from newsimg.index.saved import SavedIndexes
from newsimg.interfaces import Backbone
from newsimg.run import CONF_DIR
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone

TOP_K = 25
N_SINGLE, N_BATCH = 20, 200


class NoBackbone(Backbone):
    """The backbone of the random vectors, which embeds nothing."""

    batch_size = 64
    fingerprint = "random vectors"
    query_template = "{title}"
    description = MappingProxyType[str, str]({})

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Raise an error."""
        raise NotImplementedError

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        """Raise an error."""
        raise NotImplementedError


def main() -> None:
    """Write the folders and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--n-folders", type=int, default=100)
    parser.add_argument("--n", type=int, default=1_000_000, help="pictures in a folder")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--index", default="ivf_pq")
    parser.add_argument("--interleaved", action="store_true", help="ids not in folders' order")
    options = parser.parse_args()
    folders = [options.folder / f"part-{number:03}" for number in range(options.n_folders)]
    began = time.perf_counter()
    write_vectors(options.folder, options.index, options.n, options.dim)
    for number, folder in enumerate(folders):
        write_folder(folder, options.folder, number, options.n, options.interleaved)
    n_bytes = sum(path.stat().st_size for folder in folders for path in folder.iterdir())
    print(
        f"{len(folders)} folders of {options.n:,} pictures, dim {options.dim}, {options.index}: "
        f"{n_bytes / 2**30:.1f} GiB, written in {time.perf_counter() - began:.0f} s",
        flush=True,
    )
    context = multiprocessing.get_context("spawn")
    for mapped in (True, False):
        shutil.rmtree(options.folder / "cache", ignore_errors=True)
        for times in ("first", "second"):
            name = f"{'mapped' if mapped else 'in memory'}, {times} opening"
            arguments = (name, options.folder, folders, mapped, options.dim)
            process = context.Process(target=measure, args=arguments)
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{name}: ended with {process.exitcode}")


def write_vectors(folder: Path, name: str, n: int, dim: int) -> None:
    """Write the index that all folders share."""
    folder.mkdir(parents=True, exist_ok=True)
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", [f"index={name}"]).index
    index: GrowingIndex = instantiate(config, _convert_="all")
    sample = [np.empty((0, dim), np.float32), *draw(0, index.training_size(n), dim)]
    index.train(np.concatenate(sample), n)
    start = 0
    for block in draw(1, n, dim):
        index.add(block, np.arange(start, start + len(block)))
        start += len(block)
    index.write(folder / "vectors.faiss")


def write_folder(folder: Path, shared: Path, number: int, n: int, interleaved: bool) -> None:
    """Write a saved index of pictures that are nowhere, as `task=index` would."""
    staging = folder / "staging"
    staging.mkdir(parents=True)
    shutil.copy(shared / "vectors.faiss", staging)
    with pq.ParquetWriter(staging / "images.parquet", IMAGES) as writer:
        for start in range(0, n, ROW_GROUP):
            rows = range(start, min(n, start + ROW_GROUP))
            names = [
                f"{row:07}-{number:03}.jpg" if interleaved else f"{number:03}/{row:07}.jpg"
                for row in rows
            ]
            known = {
                "row_id": pa.array(rows, pa.int64()),
                "image_id": pa.array(names),
                "path": pa.array([f"/pictures/{name}" for name in names]),
                "digest": pa.array([f"{number:032x}{row:032x}" for row in rows]),
                "truncated": pa.array(np.zeros(len(rows), bool)),
            }
            columns = [known.get(one.name, pa.nulls(len(rows), one.type)) for one in IMAGES]
            writer.write_table(pa.table(columns, IMAGES))
    pq.write_table(REJECTED.empty_table(), staging / "rejected.parquet")
    manifest = {
        "fingerprint": NoBackbone.fingerprint,
        "n_images": n,
        "self_query": {"n_checked": 0, "n_found": 0},
    }
    install_files(staging, folder, manifest)
    staging.rmdir()
    assert all((folder / name).is_file() for name in FILES)


def measure(name: str, folder: Path, folders: list[Path], mapped: bool, dim: int) -> None:
    """Open the folders, search them and print times and memory."""
    backbone = CachedBackbone(NoBackbone(), OutputCache(folder / "cache"))
    began = time.perf_counter()
    index = SavedIndexes(folders=[str(one) for one in folders], backbone=backbone, mapped=mapped)
    n_images = len(index.images)
    opened = time.perf_counter() - began
    memory = read_memory()
    queries = next(draw(1, N_BATCH, dim))
    index.search(queries[:1], TOP_K)  # reads the mapped files
    singles = []
    for number in range(N_SINGLE):
        began = time.perf_counter()
        index.search(queries[[number]], TOP_K)
        singles.append(time.perf_counter() - began)
    began = time.perf_counter()
    _, rows = index.search(queries, TOP_K)
    batched = (time.perf_counter() - began) / len(queries)
    row_of = [[_read_row(index.images[row]) for row in some] for some in rows[:N_SINGLE].tolist()]
    found = np.mean([own in some for own, some in enumerate(row_of)])
    print(
        f"{name}: {n_images:,} pictures in {opened:.1f} s; {memory}; "
        f"{1000 * float(np.median(singles)):.0f} ms per single query, {1000 * batched:.1f} ms in a "
        f"batch of {len(queries)}; {found:.2f} of the vectors found; then {read_memory()}",
        flush=True,
    )


def _read_row(image: Image) -> int:
    found = re.search(r"(\d{7})", image.image_id)
    return int(found[1]) if found else -1


def read_memory() -> str:
    """Return the memory of this process: its own, and of mapped files, which can be dropped."""
    status = Path("/proc/self/status").read_text()
    own, mapped = (
        int(found[1]) / 1024 if (found := re.search(rf"{name}:\s+(\d+)", status)) else 0
        for name in ("RssAnon", "RssFile")
    )
    return f"{own:,.0f} MiB of its own and {mapped:,.0f} MiB of files"


if __name__ == "__main__":
    main()
