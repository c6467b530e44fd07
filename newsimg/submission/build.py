"""A submission to the benchmark: which picture each run shows, and the zip of them all."""

import hashlib
import logging
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from newsimg.datatypes import Image
from newsimg.reporting.results import Choice, Results
from newsimg.storage.files import write_atomically
from newsimg.storage.pictures.images import open_image, read_image
from newsimg.storage.progress import Progress
from newsimg.submission.layouts import PICTURE_SIZE, check_name, find_clash, name_picture
from newsimg.submission.rendering import render_picture

log = logging.getLogger(__name__)

DATE = (1980, 1, 1, 0, 0, 0)  # a zip's earliest: the same pictures make the same bytes


@dataclass(frozen=True)
class Entry:
    """The picture that a run shows for an article.

    Attributes:
        approach: The run.
        size: SMALL or LARGE, in 2026 ALL.
        article_id: The article.
        rank: The picture's, 1 unless a run before shows a better one already.
        choice: The picture and whom to credit for it.
        replaced: The image id of rank 1, if another picture had to take its place.
        because_of: The run that shows that one.
    """

    approach: str
    size: str
    article_id: str
    rank: int
    choice: Choice
    replaced: str | None = None
    because_of: str | None = None


def choose_articles(
    runs: Mapping[str, Results], subsets: Mapping[str, Sequence[str] | None]
) -> dict[str, list[str]]:
    """Return the articles of each size, all of which every run has.

    Args:
        runs: Approach -> its results.
        subsets: Size -> ids; None for those of the results.

    Raises:
        ValueError: If a run lacks an article or has one that the first lacks, or an id is not safe
            as a file name.
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
                    f"{where}, {lacking[0]!r} the first"
                )
            if listed is None and (more := [a for a in results if a not in reference]):
                raise ValueError(
                    f"run {approach} has {len(more)} articles that {where} lacks, {more[0]!r} the "
                    "first; task.subset names the articles to submit"
                )
            if unused := len(results) - len(wanted):
                log.info("%s: %d articles of run %s are not submitted", size, unused, approach)
        for article_id in wanted:
            check_name("an article_id", article_id)
        if clash := find_clash(wanted):
            raise ValueError(f"article ids must differ in more than case, got {clash}")
        chosen[size] = wanted
    return chosen


def choose_best(runs: Mapping[str, Results], articles: Mapping[str, Sequence[str]]) -> list[Entry]:
    """Show each article's first picture in every run."""
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
    """Show each article's first picture that no run before shows for it.

    Args:
        runs: Approach -> its results, the first with the first choice.
        articles: Size -> ids.
        on_duplicate: "next" or "raise".
        near_duplicates: Bits in which perceptual hashes may differ for pictures to count as the
            same; None compares their bytes.

    Raises:
        ValueError: If two runs show one picture and `on_duplicate` is "raise", or if a run has no
            picture left.
    """
    see = partial(see_picture, near_duplicates=near_duplicates)
    by_run: dict[tuple[str, str], list[Entry]] = {(s, a): [] for s in articles for a in runs}
    for size, wanted in articles.items():
        for article_id in Progress("Choosing pictures", len(wanted)).track(wanted):
            shown: dict[str, Sighting] = {}
            for approach, results in runs.items():
                entry, shown[approach] = choose_next(
                    approach, size, article_id, results[article_id], shown, see
                )
                if entry.because_of and on_duplicate == "raise":
                    raise ValueError(
                        f"runs {entry.because_of} and {approach} show the same picture for "
                        f"article {article_id!r}: {entry.replaced}; task.on_duplicate=next takes "
                        "the next best"
                    )
                by_run[size, approach].append(entry)
    return [entry for entries in by_run.values() for entry in entries]


@dataclass(frozen=True)
class Sighting:
    """What two pictures are compared by."""

    digest: str
    perceptual: Any
    n_bits: int | None

    def is_like(self, other: "Sighting") -> bool:
        """Tell whether it is the same picture, or one too near."""
        if self.digest == other.digest:
            return True
        return self.n_bits is not None and bool(self.perceptual - other.perceptual <= self.n_bits)


def see_picture(image: Image, near_duplicates: int | None) -> Sighting:
    """Return what tells a picture from others.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it cannot be decoded where that is needed.
        ImportError: If near duplicates are to be found and imagehash is not installed.
    """
    digest = image.digest or hashlib.sha256(read_image(image)).hexdigest()
    if near_duplicates is None:
        return Sighting(digest, None, None)
    try:
        from imagehash import phash
    except ImportError as error:
        raise ImportError("task.near_duplicates needs: pip install newsimg[submit]") from error
    return Sighting(digest, phash(open_image(image, PICTURE_SIZE)), near_duplicates)


def choose_next(
    approach: str,
    size: str,
    article_id: str,
    choices: Sequence[Choice],
    shown: Mapping[str, Sighting],
    see: Callable[[Image], Sighting],
) -> tuple[Entry, Sighting]:
    """Return the best picture of an article that no run before shows, and what it looks like."""
    because_of = None
    for rank, choice in enumerate(choices, start=1):
        sighting = see(choice.image)
        like = next((name for name, other in shown.items() if sighting.is_like(other)), None)
        if like is None:
            replaced = choices[0].image.image_id if because_of else None
            entry = Entry(approach, size, article_id, rank, choice, replaced, because_of)
            if because_of:
                log.info(
                    "article %s: run %s shows %s (rank %d) instead of %s, which run %s shows",
                    *(article_id, approach, choice.image.image_id, rank, replaced, because_of),
                )
            return entry, sighting
        because_of = because_of or like
    raise ValueError(
        f"run {approach} has no picture left for article {article_id!r}: all {len(choices)} are "
        "shown by the runs before it"
    )


def write_submission(
    path: Path,
    entries: Sequence[Entry],
    *,
    layout: int,
    group: str,
    crop: str,
    workers: int,
    check: Callable[[Path], None],
) -> None:
    """Write the zip, which appears whole or not at all.

    Args:
        path: The zip.
        entries: The pictures.
        layout: 2025 or 2026.
        group: The group's name.
        crop: See `render_picture`.
        workers: Pictures that are rendered at once.
        check: Is given the finished zip before it takes its name; what it raises leaves none.

    Raises:
        FileNotFoundError: If a picture is not there.
        ValueError: If a picture cannot be decoded; names it, the run and the article.
    """
    with write_atomically(path) as temporary:
        # PNGs are compressed already.
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for entry, content in render_all(entries, crop, workers):
                name = name_picture(layout, group, entry.approach, entry.size, entry.article_id)
                info = zipfile.ZipInfo(name, DATE)
                info.external_attr = 0o100644 << 16
                archive.writestr(info, content)
        check(temporary)


def render_all(entries: Sequence[Entry], crop: str, workers: int) -> Iterator[tuple[Entry, bytes]]:
    """Render pictures in parallel, in order; threads do, as Pillow releases the GIL."""

    def render(entry: Entry) -> bytes:
        try:
            return render_picture(entry.choice.image, crop)
        except (ValueError, FileNotFoundError) as error:
            where = f"run {entry.approach}, article {entry.article_id!r}"
            raise type(error)(f"{where}: {error}") from error

    pool = ThreadPoolExecutor(workers)
    try:
        contents = pool.map(render, entries)
        progress = Progress("Rendering pictures", len(entries))
        yield from progress.track(zip(entries, contents, strict=True))
    finally:  # after an error nobody needs the rest
        pool.shutdown(cancel_futures=True)
