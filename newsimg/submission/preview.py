"""The preview of a submission: every picture beside its headline, in one HTML file."""

import base64
import hashlib
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

from newsimg.datatypes import Image
from newsimg.reporting.pages.assemble import drop_empty, fill_page, to_json
from newsimg.reporting.pages.cards import locate_picture
from newsimg.storage.files import write_atomically
from newsimg.storage.pictures.images import DECODER_THREADS
from newsimg.submission.build import Entry
from newsimg.submission.crops import VERSION
from newsimg.submission.layouts import ALL
from newsimg.submission.rendering import Box, find_box

log = logging.getLogger(__name__)

STYLES = ("base.css", "viewer.css", "submission.css")
MAX_BYTES = 10_000_000
# (width, height, quality) that a thumbnail fills; the first at which all fit is used.
SCALES = ((345, 195, 70), (230, 130, 60), (161, 91, 45))
LONGEST = 4  # sides of a thumbnail, of its longer side as filled: panoramas get smaller ones


@dataclass(frozen=True)
class Shot:
    """A picture of the page.

    Attributes:
        thumb: WebP of the whole picture.
        width: Width of the decoded picture, upright.
        height: Its height.
        saliency: Its saliency crop, in fractions.
    """

    thumb: bytes
    width: int
    height: int
    saliency: Box

    def describe(self, image: Image, folder: Path) -> dict[str, Any]:
        """Return the picture as JSON, for a page in `folder`."""
        known = {"full": locate_picture(image, folder), "metadata": dict(image.metadata or {})}
        return drop_empty(known) | {
            "id": image.image_id,
            "thumb": "data:image/webp;base64," + base64.b64encode(self.thumb).decode(),
            "width": self.width,
            "height": self.height,
            "saliency": [round(value, 6) for value in self.saliency],
        }


@dataclass(frozen=True)
class Details:
    """Contents of the page besides pictures.

    Attributes:
        group: Name of the group.
        crop: `task.crop`.
        command: The command that reads the saved crops.
        facts: Description in the page's head.
        titles: Article id -> headline, as far as known.
        warning: Warning shown first; empty for none.
    """

    group: str
    crop: str
    command: str
    facts: Sequence[str]
    titles: Mapping[str, str]
    warning: str = ""


@dataclass
class Preview:
    """Collects thumbnails while pictures are rendered, and writes the page.

    Attributes:
        max_bytes: Maximum size of the file.
    """

    max_bytes: int = MAX_BYTES
    _shots: dict[Image, Shot] = field(default_factory=dict)

    def observe(self, entry: Entry, picture: PILImage.Image) -> None:
        """Add the picture of an entry; can be called in several threads."""
        image = entry.choice.image
        if image not in self._shots:  # two threads may both draw it, to the same result
            width, height = picture.size
            left, top, right, bottom = find_box(picture, "saliency")
            box = left / width, top / height, right / width, bottom / height
            self._shots[image] = Shot(draw_thumb(picture, SCALES[0]), width, height, box)

    def write(self, path: Path, entries: Sequence[Entry], details: Details) -> int:
        """Write the page, with thumbnails as large as `max_bytes` allow.

        If even the smallest do not fit, it shows fewer articles, those with a replaced picture or
        a crop of their own first, and says so.

        Args:
            path: The HTML file.
            entries: The pictures of the submission, all of which have been observed.
            details: Further contents.

        Returns:
            The number of entries shown.
        """
        budget = self.max_bytes - 3_000 - len(fill(make_page(entries, [], {}, details)).encode())
        shots = self._shots
        for scale in SCALES[1:]:
            if sum(len(shot.thumb) * 4 / 3 for shot in shots.values()) <= budget * 0.9:
                break
            shots = shrink_shots(shots, scale)
        folder = path.parent
        pictures = {image: shot.describe(image, folder) for image, shot in shots.items()}
        shown = fit_articles(entries, pictures, details, budget)
        if len(shown) < len(entries):
            log.warning("%s shows %d of %d pictures", path.name, len(shown), len(entries))
        base = {"base": folder.absolute().as_uri() + "/"}
        with write_atomically(path) as temporary:
            page = make_page(entries, shown, pictures, details) | base
            temporary.write_text(fill(page), encoding="utf-8")
        return len(shown)


def fill(page: Mapping[str, Any]) -> str:
    """Return the page with its data."""
    return fill_page("submission.html", STYLES, ["submission.js"], page)


def draw_thumb(picture: PILImage.Image, scale: tuple[int, int, int]) -> bytes:
    """Return a WebP of the whole picture that fills `scale`, but is not enlarged."""
    width, height, quality = scale
    filled = max(width / picture.width, height / picture.height)
    factor = min(1, filled, LONGEST * width / max(picture.size))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    small = picture.resize(size, PILImage.Resampling.BICUBIC, reducing_gap=1.1)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=quality, method=0)
    return buffer.getvalue()


def shrink_shots(shots: Mapping[Image, Shot], scale: tuple[int, int, int]) -> dict[Image, Shot]:
    """Return pictures with smaller thumbnails, drawn from the larger ones."""

    def shrink(shot: Shot) -> Shot:
        with PILImage.open(io.BytesIO(shot.thumb)) as picture:
            return replace(shot, thumb=draw_thumb(picture.convert("RGB"), scale))

    with ThreadPoolExecutor(DECODER_THREADS) as pool:
        return dict(zip(shots, pool.map(shrink, shots.values()), strict=True))


def fit_articles(
    entries: Sequence[Entry],
    pictures: Mapping[Image, Mapping[str, Any]],
    details: Details,
    n_bytes: float,
) -> list[Entry]:
    """Return the entries of as many articles as fit, in their order."""
    by_article: dict[str, list[Entry]] = {}
    for entry in entries:
        by_article.setdefault(entry.article_id, []).append(entry)
    first = [
        any(e.shown_by or e.crop != details.crop for e in found) for found in by_article.values()
    ]
    order = sorted(range(len(first)), key=lambda position: not first[position])
    articles = list(by_article)
    kept: set[str] = set()
    seen: set[Image] = set()
    for position in order:
        article_id = articles[position]
        found = by_article[article_id]
        images = {entry.choice.image for entry in found} - seen
        n_bytes -= len(to_json(details.titles.get(article_id, ""))) + len(article_id) + 8
        n_bytes -= sum(len(to_json(describe_entry(entry, 10**6, details.crop))) + 1
                       for entry in found)  # fmt: skip
        n_bytes -= sum(len(to_json(pictures[image])) + 16 for image in images)
        if n_bytes < 0:
            break
        seen |= images
        kept.add(article_id)
    return [entry for entry in entries if entry.article_id in kept]


def describe_entry(entry: Entry, ref: int, default: str) -> list[Any]:
    """Return an entry as JSON: article, picture, rank, what is replaced, and its own crop."""
    crop = None if entry.crop == default else entry.crop
    return [entry.article_id, ref, entry.rank, entry.replaced, entry.shown_by, crop]


def make_page(
    entries: Sequence[Entry],
    shown: Sequence[Entry],
    pictures: Mapping[Image, Mapping[str, Any]],
    details: Details,
) -> dict[str, Any]:
    """Return the page's data."""
    refs: dict[Image, int] = {}
    for entry in shown:
        refs.setdefault(entry.choice.image, len(refs))
    in_page = {id(entry) for entry in shown}
    left_out = [entry for entry in entries if id(entry) not in in_page]
    cut = (
        f"Shows {len(shown):,} of {len(entries):,} pictures, so that the page stays usable: those "
        "of articles with a replaced picture or a crop of their own first. The zip has all."
    )
    return drop_empty(
        {
            "version": VERSION,
            "key": hash_entries(entries, details),
            "group": details.group,
            "crop": details.crop,
            "command": details.command,
            "facts": list(details.facts),
            "warning": details.warning,
            "cut": cut if left_out else "",
        }
    ) | {
        "titles": {e.article_id: details.titles.get(e.article_id, "") for e in shown},
        "shots": [pictures[image] for image in refs],
        "runs": list(describe_runs(entries, shown, refs, details.crop)),
        "others": list_others(left_out, details.crop),
    }


def describe_runs(
    entries: Sequence[Entry], shown: Sequence[Entry], refs: Mapping[Image, int], default: str
) -> Iterable[dict[str, Any]]:
    """Yield the runs, in 2025 those of each size, with the pictures that are shown."""
    for approach, size in dict.fromkeys((entry.approach, entry.size) for entry in entries):
        own = [e for e in entries if (e.approach, e.size) == (approach, size)]
        yield {
            "approach": approach,
            "name": approach if size == ALL else f"{approach} {size}",
            "n_entries": len(own),
            "n_replaced": sum(entry.shown_by is not None for entry in own),
            "entries": [
                describe_entry(entry, refs[entry.choice.image], default)
                for entry in shown
                if (entry.approach, entry.size) == (approach, size)
            ],
        }


def list_others(left_out: Sequence[Entry], default: str) -> list[dict[str, Any]]:
    """Return the crops of pictures that the page leaves out, so that saving keeps them."""
    return [
        {"run": e.approach, "article_id": e.article_id}
        | {"image_id": e.choice.image.image_id, "crop": e.crop}
        for e in left_out
        if e.crop != default
    ]


def hash_entries(entries: Sequence[Entry], details: Details) -> str:
    """Return the key under which a browser keeps changes: another zip has another key."""
    known = [
        [e.approach, e.article_id, e.choice.image.image_id, describe_entry(e, 0, "")]
        for e in entries
    ]
    return hashlib.sha256(to_json([details.group, details.crop, known]).encode()).hexdigest()[:16]
