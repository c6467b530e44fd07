"""Seconds of task=infer for 1,000 headlines against 100,000 vectors of the sample model's dim.

    python tests/bench/bench_infer.py [n_images [n_headlines]]

Writes random unit vectors as a saved index, and into an empty cache, as if a collection had been
indexed; the pictures themselves are those of the sample newsroom, over and over, under other ids.
Then it runs the command line, start-up and all, with and without the page, and prints the seconds
beside those of the plain way to the same candidates: all cosines by numpy, sorted in full.
"""

import csv
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.datatypes import FloatArray
from newsimg.index.building.checkpoint import IMAGES, REJECTED, write_tables
from newsimg.index.faiss_index import FaissIndex
from newsimg.index.folder import install
from newsimg.sample.generator import ensure_newsroom
from newsimg.storage.cache import OutputCache
from newsimg.storage.files import PACKAGE_DIR, user_cache_dir

ROOT = Path(__file__).parents[2]
DIM = 128
TOP_K = 25
TARGET = 20.0


def write_index(folder: Path, embeddings: FloatArray, pictures: list[Path], model: str) -> None:
    """Write a flat index of `embeddings`, and the cache that they came from."""
    staging = folder / "index" / ".building"
    staging.mkdir(parents=True)
    n_images = len(embeddings)
    index = FaissIndex(factory="Flat")
    index.train(embeddings[:0], n_images)
    index.add(embeddings, np.arange(n_images))
    index.write(staging / "vectors.faiss")
    ids = [f"{i:07}.jpg" for i in range(n_images)]
    digests = [hashlib.sha256(image_id.encode()).hexdigest() for image_id in ids]
    columns = {
        "row_id": range(n_images),
        "image_id": ids,
        "path": [str(pictures[i % len(pictures)]) for i in range(n_images)],
        "digest": digests,
        "truncated": [False] * n_images,
    }
    table = pa.table(
        {f.name: pa.array(columns.get(f.name, [None] * n_images), f.type) for f in IMAGES}
    )
    write_tables(iter([table]), IMAGES, staging / "images.parquet")
    write_tables(iter([]), REJECTED, staging / "rejected.parquet")
    manifest = {"fingerprint": model, "n_images": n_images}
    install(
        staging, folder / "index", manifest | {"self_query": {"n_checked": 100, "n_found": 100}}
    )
    names = [f"image:{digest}" for digest in digests]
    OutputCache(folder / "cache").compute_batch("embeddings", model, names, lambda b: embeddings[b])


def write_headlines(path: Path, source: Path, n_headlines: int) -> list[str]:
    """Write the first headlines of the sample newsroom under ids of their own; return them."""
    with source.open(encoding="utf-8") as file:
        titles = [row["article_title"] for row in csv.DictReader(file)][:n_headlines]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "headline"], *enumerate(titles)])
    return titles


def time_command(folder: Path, report: bool) -> float:
    """Run the command line in a process of its own; return its seconds."""
    command = [
        *(sys.executable, "-m", "newsimg.run", "task=infer", "data=queries", "tracking=none"),
        *(f"data.csv_path={folder / 'headlines.csv'}", "data.id_column=id"),
        *("data.title_column=headline", "index=saved", f"index.folders=[{folder / 'index'}]"),
        *(f"cache.dir={folder / 'cache'}", f"hydra.run.dir={folder / 'run'}"),
        *(f"top_k={TOP_K}", f"task.report={str(report).lower()}"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main(n_images: int = 100_000, n_headlines: int = 1000) -> None:
    """Print a row for each way."""
    newsroom = ensure_newsroom(user_cache_dir())
    backbone = TransformersBackbone(
        model=str(PACKAGE_DIR / "sample" / "clip"),
        revision="main",
        dtype="float32",
        device="auto",
        batch_size=64,
        text_padding="longest",
        text_length=48,
        query_template="{title}",
    )
    random = np.random.default_rng(28)
    embeddings = random.normal(size=(n_images, DIM)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = sorted((newsroom / "newsimages").iterdir())
        write_index(folder, embeddings, pictures, backbone.fingerprint)
        titles = write_headlines(
            folder / "headlines.csv", newsroom / "newsarticles.csv", n_headlines
        )
        print(f"{n_headlines} headlines, {n_images} vectors, dim {DIM}, {TOP_K} candidates")
        whole = time_command(folder, report=True)
        print(f"{'task=infer, first time':36}{whole:8.1f} s   target {TARGET:.0f} s")
        found = pq.read_table(folder / "run" / "results.parquet").to_pandas()
        print(f"{'task=infer again':36}{time_command(folder, report=True):8.1f} s")
        print(
            f"{'task=infer again, without the page':36}{time_command(folder, report=False):8.1f} s"
        )
    began = time.perf_counter()
    texts = backbone.embed_texts(titles)
    cosines = texts @ embeddings.T
    best = np.argsort(-cosines, axis=1)[:, :TOP_K]
    print(f"{'numpy, candidates alone':36}{time.perf_counter() - began:8.1f} s")
    ours = found.groupby("article_id", sort=False)["image_id"].agg(set)
    same = [own == {f"{row:07}.jpg" for row in rows} for own, rows in zip(ours, best, strict=True)]
    print(f"the same candidates for {sum(same)} of {len(same)} headlines")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
