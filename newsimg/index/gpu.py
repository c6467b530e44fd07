"""A copy of a FAISS index on a GPU, for searching."""

from collections.abc import Sequence
from typing import Any

import faiss

from newsimg.storage.text.suggest import check_choice

DEVICES = ("cpu", "cuda")
ON_GPU = (
    faiss.IndexIDMap,
    faiss.IndexPreTransform,
    faiss.IndexFlat,
    faiss.IndexIVFFlat,
    faiss.IndexIVFScalarQuantizer,
    faiss.IndexIVFPQ,
)
MOST_RESULTS = 2048  # per query, and inverted lists visited, that FAISS allows on a GPU


def check_device(device: str) -> None:
    """Check the option `index.device`.

    Raises:
        ValueError: If it is unknown, or "cuda" and FAISS finds no GPU.
    """
    check_choice("index.device", device, DEVICES)
    # The package faiss-cpu lacks the class.
    if device == "cuda" and not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
        raise ValueError(
            "index.device=cuda needs a GPU and FAISS built for it (the package faiss-gpu-cu12 in "
            "place of faiss-cpu); index.device=cpu does without"
        )


def copy_to_gpu(index: faiss.Index, parts: Sequence[faiss.Index]) -> Any:
    """Return a copy of an index on the first GPU.

    Args:
        index: The index.
        parts: The index and those that it wraps, downcast; see `walk_parts`.

    Raises:
        ValueError: If FAISS has no GPU version of a part, which it would leave on the CPU.
    """
    for part in parts:
        if not isinstance(part, ON_GPU):
            raise ValueError(
                f"FAISS has no GPU version of a {type(part).__name__}: add index.device=cpu, or "
                "choose index=flat, index=ivf_flat or index=ivf_sq8"
            )
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
