"""Room for pixels in shared memory, which containers often have 64 MB of."""

import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from newsimg.interfaces import Backbone
from newsimg.storage.pictures.images import LoadedImage

SHARED_MEMORY = Path("/dev/shm")
PROBE = (512, 384)  # width and height of the picture whose pixels are counted


def count_fitting(backbone: Backbone, n_prefetch: int) -> int | None:
    """Return how many processes have room for the batches that they read ahead of the model.

    A process that finds no room is killed by the system without a message.

    Args:
        backbone: Backbone whose `preprocess` makes the pixels; its preprocessing is loaded.
        n_prefetch: Batches that each process reads ahead.

    Returns:
        The number, or None where there is no limit: another system, or pixels that travel
        otherwise.
    """
    if not SHARED_MEMORY.is_dir():
        return None
    encoded = io.BytesIO()
    PILImage.fromarray(np.zeros((PROBE[1], PROBE[0], 3), np.uint8)).save(encoded, "PNG")
    inputs = backbone.preprocess(
        LoadedImage("probe", Path("probe.png"), content=encoded.getvalue())
    )
    if not isinstance(inputs, dict):
        return None
    n_bytes = backbone.batch_size * sum(array.nbytes for array in inputs.values())
    batches = shutil.disk_usage(SHARED_MEMORY).free // n_bytes
    return max(batches - 1, 0) // n_prefetch  # one is with the model
