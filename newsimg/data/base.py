"""Pictures without articles: what folders, lists, tables and archives of them share.

An image id is where the picture lies within its collection: the path below the folder, with the
archive's name in front of a member's. White space and % in it become %20, %25 and so on, since
TREC's files are separated by spaces.
"""

import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from newsimg.datatypes import (
    Collection,
    Image,
    Listed,
    PassedOver,
    Query,
    Rejected,
    make_image_id,
)
from newsimg.interfaces import Dataset
from newsimg.storage.pictures.passed_over import Tally

log = logging.getLogger(__name__)


class PictureCollection(Dataset):
    """Pictures only. `list_images` is what a collection adds; it lists and decodes nothing.

    Args:
        name: What to call the collection.
        id_prefix: What stands before each id.
    """

    def __init__(self, *, name: str, id_prefix: str) -> None:
        self.name = name
        self.id_prefix = make_image_id(id_prefix)

    @abstractmethod
    def list_images(self) -> Iterator[Listed]:
        """Yield the images in a fixed order, each as soon as it is known, and what else is there.

        Raises:
            FileNotFoundError: If there is nothing to list.
            ValueError: If something cannot be listed; names it.
        """

    def stream_images(self) -> Iterator[Listed]:
        """See `Dataset.stream_images`."""
        for found in self.list_images():
            if isinstance(found, Image):
                yield replace(found, image_id=self.id_prefix + found.image_id)
            else:
                yield found

    def load(self) -> Collection:
        """See `Dataset.load`. There are no queries; all images are in memory at once.

        What was rejected or passed over is told as a warning.

        Raises:
            ValueError: If two pictures have the same id, or there are none.
        """
        images, others = [], Tally()
        for found in self.stream_images():
            if isinstance(found, Image):
                images.append(found)
            elif isinstance(found, Rejected):
                log.warning("%s: %s: %s", self.name, found.uri, found.reason)
            elif isinstance(found, PassedOver):
                others.add(found)
        images.sort(key=lambda image: image.image_id)
        if others.counts:
            log.warning("%s: %s", self.name, others.describe())
        if not images:
            raise ValueError(f"the collection {self.name} has no pictures")
        for first, second in pairwise(images):
            if first.image_id == second.image_id:
                raise ValueError(
                    f"two pictures for one image id {first.image_id}: {first.uri}, {second.uri}"
                )
        return Collection(self.name, (), tuple(images), None)

    def load_queries(self) -> Sequence[Query]:
        """See `Dataset.load_queries`. There are none."""
        return ()

    def with_split(self, split: str) -> Dataset:
        """See `Dataset.with_split`.

        Raises:
            ValueError: Always: there are no articles to split.
        """
        raise ValueError(f"the collection {self.name} has no articles, so no split {split!r}")
