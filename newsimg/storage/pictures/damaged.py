"""Handling of unreadable pictures in a collection: report all of them, raise or skip."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from newsimg.datatypes import Collection, FloatArray, Image
from newsimg.interfaces import Backbone
from newsimg.storage.pictures.images import open_image

log = logging.getLogger(__name__)

N_THREADS = 2
N_SHOWN = 10


def embed_readable(collection: Collection, backbone: Backbone) -> tuple[Collection, FloatArray]:
    """Embed the pictures of a collection; unreadable ones raise an error or are skipped.

    Returns:
        The collection without the skipped pictures, and the embeddings (n_images, dim) of the
        others.

    Raises:
        ValueError: See `drop_damaged`, and `Backbone.embed_images`.
    """
    images = collection.images
    try:
        return collection, backbone.embed_images(images)
    except (ValueError, OSError) as error:
        if not any(image.uri in str(error) for image in images):
            raise
        first = error
    readable = drop_damaged(collection, backbone)  # the error names only the first one
    if readable is collection:
        raise first
    return readable, backbone.embed_images(readable.images)


def drop_damaged(collection: Collection, backbone: Backbone) -> Collection:
    """Decode all pictures and drop the unreadable ones.

    Returns:
        The collection without them; the same object if there are none.

    Raises:
        ValueError: If there are some and `on_damaged` is not "skip", or no picture is left; names
            the first ten.
    """
    damaged = find_damaged(collection.images, backbone)
    if not damaged:
        return collection
    n_images = len(collection.images)
    shown = [
        f"{collection.named_in[image.image_id]}: {reason}"
        if image.image_id in collection.named_in
        else reason
        for image, reason in list(damaged.items())[:N_SHOWN]
    ]
    more = "; ..." if len(damaged) > N_SHOWN else ""
    what = (
        f"{len(damaged)} of the {n_images} pictures of {collection.name} cannot be used: "
        f"{'; '.join(shown)}{more}"
    )
    if collection.on_damaged != "skip" or len(damaged) == n_images:
        hint = ". Set data.on_damaged=skip to skip them" if collection.on_damaged else ""
        raise ValueError(what + (hint if len(damaged) < n_images else ""))
    log.warning("%s; they are skipped", what)
    dropped = {image.image_id for image in damaged}
    qrels = {
        query_id: relevant
        for query_id, relevant in (collection.qrels or {}).items()
        if not dropped & set(relevant)
    }
    return replace(
        collection,
        images=tuple(image for image in collection.images if image not in damaged),
        qrels=None if collection.qrels is None else qrels,
        skipped={**collection.skipped, "damaged": len(damaged)},
    )


def find_damaged(images: Sequence[Image], backbone: Backbone) -> dict[Image, str]:
    """Return the pictures that the backbone cannot preprocess, with the reasons."""

    def check(image: Image) -> str | None:
        try:
            backbone.preprocess(image)
            open_image(image)  # a backbone may decode it later
        except (ValueError, OSError) as error:
            if image.uri not in str(error):
                raise  # not an error of this picture
            return str(error)
        return None

    with ThreadPoolExecutor(N_THREADS) as pool:
        reasons = pool.map(check, images)
        return {
            image: reason
            for image, reason in zip(images, reasons, strict=True)
            if reason is not None
        }
