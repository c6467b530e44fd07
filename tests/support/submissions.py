"""Results as written by `task=infer`, and pictures for them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as PILImage


def draw(path: Path, seed: int, size: tuple[int, int] = (92, 52)) -> Path:
    """Write a picture of coloured patches."""
    patches = np.random.default_rng(seed).integers(0, 256, (4, 7, 3), dtype=np.uint8)
    picture = PILImage.fromarray(patches).resize(size, PILImage.Resampling.NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


def write_results(
    path: Path,
    ranked: Mapping[str, Sequence[str]],
    pictures: Mapping[str, Path],
    **extra: Mapping[str, str],
) -> Path:
    """Write a results file.

    Args:
        path: The file.
        ranked: Article id -> image ids, best first.
        pictures: Image id -> file.
        **extra: Additional columns, with values by image id.
    """
    rows = [
        {
            "article_id": article_id,
            "rank": rank,
            "image_id": image_id,
            "uri": str(pictures[image_id]),
            "path": str(pictures[image_id]),
            "member": None,
            "retrieval": 1 - rank / 100,
            "rerank": None,
            "fused": 1 - rank / 100,
            "title": f"Headline of {article_id}",
        }
        | {name: values.get(image_id) for name, values in extra.items()}
        for article_id, image_ids in ranked.items()
        for rank, image_id in reversed(
            list(enumerate(image_ids, start=1))
        )  # the order of the rows must not matter
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
