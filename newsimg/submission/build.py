"""Build a benchmark submission: select the pictures of each run and write the zip."""

import hashlib
import logging
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

from newsimg.datatypes import Image
from newsimg.reporting.results import Choice, Results
from newsimg.storage.files import write_atomically
from newsimg.storage.pictures.images import open_image, read_image
from newsimg.storage.progress import Progress
from newsimg.submission.layouts import PICTURE_SIZE, check_name, find_clash, name_picture
from newsimg.submission.rendering import Crop, encode_picture

log = logging.getLogger(__name__)

DATE = (1980, 1, 1, 0, 0, 0)  # fixed (the earliest in a zip), so that the zip is reproducible


@dataclass(frozen=True)
class Entry:
    """The picture of a run for an article.

    Attributes:
        approach: Name of the run.
        size: SMALL or LARGE, in 2026 ALL.
        article_id: The article.
        rank: Rank of the picture in the run; above 1 if an earlier run shows a better one.
        choice: The picture with its credit.
        replaced: Image id at rank 1, if it was replaced.
        shown_by: The earlier run that shows that image.
        crop: How the picture is cropped; see `render_picture`.
    """

    approach: str
    size: str
    article_id: str
    rank: int
    choice: Choice
    replaced: str | None = None
    shown_by: str | None = None
    crop: Crop = "center"


Observe = Callable[[Entry, PILImage.Image], None]


def choose_articles(
    runs: Mapping[str, Results], subsets: Mapping[str, Sequence[str] | None]
) -> dict[str, list[str]]:
    """Return the articles of each size, after checking that every run has them.

    Args:
        runs: Approach -> its results.
        subsets: Size -> article ids; None for all articles of the results.

    Raises:
        ValueError: If a run lacks an article or has one that the first run lacks, or an id is not
            safe as a file name.
    """
    chosen = {}
    first, reference = next(iter(runs.items()))
    for size, listed in subsets.items():
        wanted = list(reference) if listed is None else list(listed)
        where = f"run {first}" if listed is None else f"subset {size}"
        for approach, results in runs.items():
            if lacking := [article_id for article_id in wanted if article_id not in results]:
                raise ValueError(
                    f"run {approach} lacks {len(lacking)} of the {len(wanted)} articles of "
                    f"{where}, first: {lacking[0]!r}"
                )
            if listed is None and (more := [a for a in results if a not in reference]):
                raise ValueError(
                    f"run {approach} has {len(more)} articles that {where} lacks, first: "
                    f"{more[0]!r}; set task.subset=FILE to the list of articles to submit"
                )
            if unused := len(results) - len(wanted):
                log.info("%s: %d articles of run %s are not submitted", size, unused, approach)
        for article_id in wanted:
            check_name("an article_id", article_id)
        if clash := find_clash(wanted):
            raise ValueError(f"article ids must not differ only in case, got {clash}")
        chosen[size] = wanted
    return chosen


def choose_best(runs: Mapping[str, Results], articles: Mapping[str, Sequence[str]]) -> list[Entry]:
    """Select each article's picture at rank 1 in every run."""
    return [
        Entry(approach, size, article_id, 1, results[article_id][0])
        for size, wanted in articles.items()
        for approach, results in runs.items()
        for article_id in wanted
    ]


def choose_distinct(
    runs: Mapping[str, Results],
    articles: Mapping[str, Sequence[str]],
    *,
    on_duplicate: str,
    near_duplicates: int | None,
) -> list[Entry]:
    """Select for each article the best picture of every run that no earlier run shows.

    Args:
        runs: Approach -> its results, in order of priority.
        articles: Size -> article ids.
        on_duplicate: "next" or "raise".
        near_duplicates: Largest Hamming distance of the perceptual hashes of duplicates; None
            compares bytes only.

    Raises:
        ValueError: If two runs show the same picture and `on_duplicate` is "raise", or if a run has
            no picture left.
    """
    hasher = partial(hash_picture, near_duplicates=near_duplicates)
    by_run: dict[tuple[str, str], list[Entry]] = {(s, a): [] for s in articles for a in runs}
    for size, wanted in articles.items():
        for article_id in Progress("Choosing pictures", len(wanted)).track(wanted):
            shown: dict[str, PictureHash] = {}
            for approach, results in runs.items():
                entry, shown[approach] = choose_next(
                    approach, size, article_id, results[article_id], shown, hasher
                )
                if entry.shown_by and on_duplicate == "raise":
                    raise ValueError(
                        f"runs {entry.shown_by} and {approach} show the same picture for "
                        f"article {article_id!r}: {entry.replaced}; add task.on_duplicate=next to "
                        "use the next best"
                    )
                by_run[size, approach].append(entry)
    return [entry for entries in by_run.values() for entry in entries]


@dataclass(frozen=True)
class PictureHash:
    """Hashes by which duplicate pictures are detected."""

    digest: str
    perceptual: Any
    n_bits: int | None

    def matches(self, other: "PictureHash") -> bool:
        """Return whether the pictures are duplicates or near duplicates."""
        if self.digest == other.digest:
            return True
        return self.n_bits is not None and bool(self.perceptual - other.perceptual <= self.n_bits)


def hash_picture(image: Image, near_duplicates: int | None) -> PictureHash:
    """Return the hashes of a picture.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a perceptual hash is needed and the picture cannot be decoded.
        ImportError: If a perceptual hash is needed and imagehash is not installed.
    """
    digest = image.digest or hashlib.sha256(read_image(image)).hexdigest()
    if near_duplicates is None:
        return PictureHash(digest, None, None)
    try:
        from imagehash import phash
    except ImportError as error:
        raise ImportError("task.near_duplicates needs: pip install newsimg[submit]") from error
    return PictureHash(digest, phash(open_image(image, PICTURE_SIZE)), near_duplicates)


def choose_next(
    approach: str,
    size: str,
    article_id: str,
    choices: Sequence[Choice],
    shown: Mapping[str, PictureHash],
    hasher: Callable[[Image], PictureHash],
) -> tuple[Entry, PictureHash]:
    """Return the best picture of an article that no earlier run shows, and its hashes."""
    shown_by = None
    for rank, choice in enumerate(choices, start=1):
        hashes = hasher(choice.image)
        duplicate = next((name for name, other in shown.items() if hashes.matches(other)), None)
        if duplicate is None:
            replaced = choices[0].image.image_id if shown_by else None
            entry = Entry(approach, size, article_id, rank, choice, replaced, shown_by)
            if shown_by:
                log.info(
                    "article %s: run %s shows %s (rank %d) instead of %s, which run %s shows",
                    *(article_id, approach, choice.image.image_id, rank, replaced, shown_by),
                )
            return entry, hashes
        shown_by = shown_by or duplicate
    raise ValueError(
        f"run {approach} has no picture left for article {article_id!r}: all {len(choices)} are "
        "shown by earlier runs"
    )


def write_submission(
    path: Path,
    entries: Sequence[Entry],
    *,
    layout: int,
    group: str,
    workers: int,
    check: Callable[[Path], None],
    observe: Observe | None = None,
) -> None:
    """Write the zip atomically.

    Args:
        path: The zip.
        entries: The pictures.
        layout: 2025 or 2026.
        group: Name of the group.
        workers: Number of pictures rendered in parallel.
        check: Called with the temporary file of the finished zip; if it raises, no zip is written.
        observe: See `render_all`.

    Raises:
        FileNotFoundError: If a picture does not exist.
        ValueError: If a picture cannot be decoded or cropped; names it, the run and the article.
    """
    with write_atomically(path) as temporary:
        # PNGs are already compressed.
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for entry, content in render_all(entries, workers, observe):
                name = name_picture(layout, group, entry.approach, entry.size, entry.article_id)
                info = zipfile.ZipInfo(name, DATE)
                info.external_attr = 0o100644 << 16
                archive.writestr(info, content)
        check(temporary)


def render_all(
    entries: Sequence[Entry], workers: int, observe: Observe | None = None
) -> Iterator[tuple[Entry, bytes]]:
    """Render pictures in threads (Pillow releases the GIL) and yield them in order.

    `observe` is called in the threads with each entry and its decoded picture.
    """

    def render(entry: Entry) -> bytes:
        try:
            picture = open_image(entry.choice.image, PICTURE_SIZE)
            content = encode_picture(picture, entry.crop)
        except (ValueError, FileNotFoundError) as error:
            where = f"run {entry.approach}, article {entry.article_id!r}"
            raise type(error)(f"{where}: {error}") from error
        if observe is not None:
            observe(entry, picture)
        return content

    pool = ThreadPoolExecutor(workers)
    try:
        contents = pool.map(render, entries)
        progress = Progress("Rendering pictures", len(entries))
        yield from progress.track(zip(entries, contents, strict=True))
    finally:  # after an error the remaining pictures are not needed
        pool.shutdown(cancel_futures=True)
