"""Base class of collections of pictures without articles.

An image id is the path of the picture within its collection: the path below the folder and, for a
member of an archive, the archive's path followed by the member's name. White space and % are
percent-encoded, because TREC files are separated by spaces.
"""

import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from newsimg.datatypes import (
    Collection,
    Image,
    Listed,
    Query,
    Rejected,
    SkippedFile,
    make_image_id,
)
from newsimg.interfaces import Dataset
from newsimg.storage.metadata.filters import filter_listed, make_filter
from newsimg.storage.pictures.skipped import Tally

log = logging.getLogger(__name__)


class PictureCollection(Dataset):
    """A collection of pictures without queries. Subclasses implement `list_images`.

    Args:
        name: Name of the collection.
        id_prefix: Prefix of each id.
        filter: Conditions on the pictures; see `make_filter`.
    """

    def __init__(
        self, *, name: str, id_prefix: str, filter: Mapping[str, Any] | None = None
    ) -> None:
        self.name = name
        self.filter = make_filter(filter)
        self.id_prefix = make_image_id(id_prefix)

    @abstractmethod
    def list_images(self) -> Iterator[Listed]:
        """Yield images, rejected locations and skipped files in a fixed order, without decoding.

        Raises:
            FileNotFoundError: If the source does not exist.
            ValueError: If part of the source cannot be listed; names it.
        """

    def stream_images(self) -> Iterator[Listed]:
        """See `Dataset.stream_images`."""
        for found in filter_listed(self.list_images(), self.filter):
            if isinstance(found, Image):
                yield replace(found, image_id=self.id_prefix + found.image_id)
            else:
                yield found

    def load(self) -> Collection:
        """See `Dataset.load`. There are no queries; the list of images is held in memory.

        Rejected locations and skipped files are logged as warnings.

        Raises:
            ValueError: If two pictures have the same id, or there are no pictures.
        """
        images, others = [], Tally()
        for found in self.stream_images():
            if isinstance(found, Image):
                images.append(found)
            elif isinstance(found, Rejected):
                log.warning("%s: %s: %s", self.name, found.uri, found.reason)
            elif isinstance(found, SkippedFile):
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
        return Collection(self.name, (), tuple(images), None, filter=self.filter)

    def load_queries(self) -> Sequence[Query]:
        """See `Dataset.load_queries`. There are no queries."""
        return ()

    def with_split(self, split: str) -> Dataset:
        """See `Dataset.with_split`.

        Raises:
            ValueError: Always, because there are no articles to split.
        """
        raise ValueError(f"the collection {self.name} has no articles and no split {split!r}")
