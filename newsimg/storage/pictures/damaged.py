"""Pictures that cannot be read: all of them at once, refused or left out."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from newsimg.datatypes import Collection, FloatArray, Image
from newsimg.interfaces import Backbone

log = logging.getLogger(__name__)

N_THREADS = 2
N_TOLD = 10


def embed_readable(collection: Collection, backbone: Backbone) -> tuple[Collection, FloatArray]:
    """Embed the pictures of a collection; those that cannot be read are refused, or left out.

    Returns:
        The collection without them, and a row for each of its pictures.

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
    readable = drop_damaged(collection, backbone)  # the error tells of one picture only
    if readable is collection:
        raise first
    return readable, backbone.embed_images(readable.images)


def drop_damaged(collection: Collection, backbone: Backbone) -> Collection:
    """Look at all pictures, and leave out those that cannot be read.

    Returns:
        The collection itself if there are none.

    Raises:
        ValueError: If there are some, and the collection is not told to skip them, or nothing is
            left; names the first ten.
    """
    damaged = find_damaged(collection.images, backbone)
    if not damaged:
        return collection
    n_images = len(collection.images)
    told = [
        f"{collection.named_in[image.image_id]}: {reason}"
        if image.image_id in collection.named_in
        else reason
        for image, reason in list(damaged.items())[:N_TOLD]
    ]
    more = "; ..." if len(damaged) > N_TOLD else ""
    what = (
        f"{len(damaged)} of the {n_images} pictures of {collection.name} cannot be used: "
        f"{'; '.join(told)}{more}"
    )
    if collection.on_damaged != "skip" or len(damaged) == n_images:
        hint = ". data.on_damaged=skip does without them" if collection.on_damaged else ""
        raise ValueError(what + (hint if len(damaged) < n_images else ""))
    log.warning("%s; they are skipped", what)
    gone = {image.image_id for image in damaged}
    qrels = {
        query_id: relevant
        for query_id, relevant in (collection.qrels or {}).items()
        if not gone & set(relevant)
    }
    return replace(
        collection,
        images=tuple(image for image in collection.images if image not in damaged),
        qrels=None if collection.qrels is None else qrels,
        skipped={**collection.skipped, "damaged": len(damaged)},
    )


def find_damaged(images: Sequence[Image], backbone: Backbone) -> dict[Image, str]:
    """Return the pictures that the backbone cannot make anything of, with the reasons."""

    def look(image: Image) -> str | None:
        try:
            backbone.preprocess(image)
        except (ValueError, OSError) as error:
            if image.uri not in str(error):
                raise  # it is not about the picture
            return str(error)
        return None

    with ThreadPoolExecutor(N_THREADS) as pool:
        reasons = pool.map(look, images)
        return {
            image: reason
            for image, reason in zip(images, reasons, strict=True)
            if reason is not None
        }
