"""Commands that the campaign runs under difficulties, and the files that they must write."""

import contextlib
import gzip
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "support"))
from bucket_server import BUCKET, bucket_server

N_OBJECTS, OBJECT_BYTES = 24, 1 << 20  # of a shard that is fetched


@dataclass(frozen=True)
class Scenario:
    """A command and the files that it must write.

    Attributes:
        name: What is interrupted.
        command: Arguments of newsimg.
        outputs: Patterns of the files, relative to the folder of the trial; the last is compared.
        before: Commands that are run once; each trial begins with a copy of their files.
        is_tracked: Whether MLflow's store must have every run completely and once.
        draws: Whether the sample newsroom is drawn, too.
        serve: Yields further arguments while a server runs.
    """

    name: str
    command: tuple[str, ...]
    outputs: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    is_tracked: bool = False
    draws: bool = False
    serve: Callable[[], contextlib.AbstractContextManager[tuple[str, ...]]] | None = None


@contextlib.contextmanager
def serve_shard() -> Iterator[tuple[str, ...]]:
    """Serve a bucket with one shard of random bytes, and write its metadata."""
    rng = np.random.default_rng(0)
    with bucket_server() as server, tempfile.TemporaryDirectory() as folder:
        server.make_bucket()
        for i in range(N_OBJECTS):
            server.put(f"data/images/000/000/{i:03d}.jpg", rng.bytes(OBJECT_BYTES))
        with gzip.open(Path(folder) / "000.gz", "wb"):
            pass
        yield f"task.endpoint_url={server.url}", f"task.metadata_dir={folder}"


EVALUATION = tuple(f"multirun/single/*/*/{name}.csv" for name in ("queries", "curve"))
INDEX = ("index/vectors.faiss", "index/images.parquet", "index/rejected.parquet")
BUILD = (
    "task=index",
    "data=collection",
    "task.index_dir=index",
    "tracking=none",
    "task.n_queries=20",
)
SCENARIOS = (
    Scenario("first run", ("tracking=none",), EVALUATION, draws=True),
    Scenario(
        "embedding",
        ("tracking=none", "task.report=false", "task.n_sheet_queries=0"),  # little else
        EVALUATION,
    ),
    Scenario("index build", (*BUILD, "data.folder=pictures"), INDEX),
    Scenario(
        "index append",
        (
            *BUILD,
            "task.action=append",
            "data.folder=more",
            "data.id_prefix=more/",
            "task.on_changed=skip",
        ),
        INDEX,
        before=((*BUILD, "data.folder=pictures"),),
    ),
    Scenario(
        "sweep",
        ("-m", "reranker=identity,aesthetics", "weight.value=0.1,0.2", "resume=true"),
        ("multirun/sweep/*/*/summary/table.csv",),
        is_tracked=True,
    ),
    Scenario(
        "captions",
        (
            "task=caption",
            "task.captions_path=captions.jsonl",
            "task.num_captions=1",
            "tracking=none",
        ),
        ("captions.jsonl",),
    ),
    Scenario(
        "judging",
        ("reranker=vlm_judge", "top_k=3", "tracking=none"),
        EVALUATION,
    ),
    Scenario("tracking", ("reranker=identity",), EVALUATION, is_tracked=True),
    Scenario(
        "sending",
        ("task=sync",),
        (),
        before=(
            ("-m", "reranker=identity", "weight.value=0,0.1", "tracking.uri=http://127.0.0.1:9"),
        ),
        is_tracked=True,
    ),
    Scenario(
        "fetch",
        ("task=fetch", "task.n_shards=1", f"task.bucket={BUCKET}", "tracking=none"),
        ("yfcc100m/000.zip", "yfcc100m/000.parquet"),
        serve=serve_shard,
    ),
)
