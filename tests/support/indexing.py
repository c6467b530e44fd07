"""Small pictures, and an index of them built in this process."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.data.collection import FolderDataset
from newsimg.engine.local import LocalEngine
from newsimg.index.faiss_index import FaissIndex
from newsimg.interfaces import Components, Dataset
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone
from newsimg.task.index import IndexTask


def draw(seed: int, size: tuple[int, int] = (24, 20), quality: int = 90) -> bytes:
    patches = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    picture = PILImage.fromarray(patches).resize(size, PILImage.Resampling.BICUBIC)
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def fill(folder: Path, n: int, start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + n):
        (folder / f"{i:05}.jpg").write_bytes(draw(i))
    return folder


def open_clip(folder: Path, **changes: Any) -> TransformersBackbone:
    """Return a backbone with the tiny CLIP model."""
    arguments: dict[str, Any] = {
        "model": str(folder),
        "revision": "main",
        "dtype": "float32",
        "device": "cpu",
        "batch_size": 16,
        "text_padding": "longest",
        "text_length": 48,
        "query_template": "{title}",
    }
    return TransformersBackbone(**arguments | changes)


class IndexMaker:
    """Runs `task=index` with the cache, the indexes and the run's folder in `tmp_path`."""

    def __init__(self, clip: TransformersBackbone, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.backbone = CachedBackbone(clip, OutputCache(tmp_path / "cache"))

    def __call__(
        self,
        data: Path | Dataset,
        index_dir: str = "index",
        factory: str = "Flat",
        id_prefix: str = "",
        **changes: Any,
    ) -> dict[str, float]:
        """Run the task on a folder of pictures, or another data set, and return its metrics."""
        arguments: dict[str, Any] = {
            "action": "build",
            "image_ids": None,
            "on_changed": "raise",
            "on_bad_image": "skip",
            "max_rejected": 0.05,
            "on_truncated": "reject",
            "max_pixels": 1_000_000,
            "min_side": 2,
            "n_threads": 2,
            "engine": LocalEngine(),
            "n_queries": 50,
            "queries": None,
            "backbone_overrides": ["backbone=tiny"],
        }
        task = IndexTask(index_dir=str(self.tmp_path / index_dir), **arguments | changes)
        if isinstance(data, Path):
            data = FolderDataset(name="c", folder=str(data), id_prefix=id_prefix)
        parts: Any = (None, None)  # reranker and weight, which the task does not use
        numbers: Any = {"nlist": 4, "nprobe": 1} if "{nlist}" in factory else {}
        index = FaissIndex(factory=factory, **numbers)
        run_dir = self.tmp_path / "run"
        run_dir.mkdir(exist_ok=True)
        return task.run(Components(data, self.backbone, index, *parts, top_k=10), run_dir)
