"""Pictures without articles: what folders, lists, tables and archives of them share.

An image id is where the picture lies within its collection: the path below the folder, with the
archive's name in front of a member's. White space and % in it become %20, %25 and so on, since
TREC's files are separated by spaces.
"""

import logging
import re
from itertools import pairwise
from urllib.parse import quote

from newsimg.datatypes import Collection, Image, PassedOver, Rejected
from newsimg.interfaces import Dataset
from newsimg.storage.pictures.passed_over import Tally

log = logging.getLogger(__name__)


class PictureCollection(Dataset):
    """Pictures only. `stream_images` is what a collection adds; it lists and decodes nothing.

    Args:
        name: What to call the collection.
    """

    def __init__(self, *, name: str) -> None:
        self.name = name

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

    def with_split(self, split: str) -> Dataset:
        """See `Dataset.with_split`.

        Raises:
            ValueError: Always: there are no articles to split.
        """
        raise ValueError(f"the collection {self.name} has no articles, so no split {split!r}")


def make_image_id(place: str) -> str:
    """Turn a place within a collection into an id of one word; different places stay different."""
    return re.sub(r"[\s%]", lambda found: quote(found[0]), place)
