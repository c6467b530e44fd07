"""Generate the sample newsroom: a table of articles and their pictures, each at first use."""

import csv
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock
from platformdirs import user_cache_path

from newsimg.sample.drawing_pool import draw_all, write_scenes
from newsimg.sample.headlines import NEWSROOM_MENTION_SCALE, Story, write_story
from newsimg.sample.scenes import Scene, is_column, newsroom_scene
from newsimg.sample.toys import NEWSROOM
from newsimg.sample.words import (
    WORDS_STREAM,
    Words,
    add_words,
    choose_words,
    describe_picture,
    publish,
)
from newsimg.storage.files import name_full_disk

GENERATOR_VERSION = (
    6  # increase it with any change of the output, so that old folders are not reused
)
DEFAULT_SEED = 28
HEADER = (
    "article_id",
    "article_url",
    "article_title",
    "article_tags",
    "image_id",
    "image_url",
    "article_date",
)
HEADLINE_STREAM, ID_STREAM = 3, 4
TABLE, PICTURES = "newsarticles.csv", "newsimages"


def ensure_newsroom(
    cache_dir: Path | None = None,
    n_articles: int = 4000,
    seed: int = DEFAULT_SEED,
    n_workers: int | None = None,
    quiet: bool = False,
    image_ids: Iterable[str] | None = None,
) -> Path:
    """Return the folder of the sample newsroom, with its tables and the pictures that are needed.

    What does not exist is generated. The folder with the tables, and then each picture, appears
    complete, under a name that was temporary before; concurrent processes wait for the first one.

    Args:
        cache_dir: Folder of the newsrooms; by default the user's cache folder.
        n_articles: Number of articles, each with one picture.
        seed: Random seed.
        n_workers: Number of drawing processes; by default the number of usable cores.
        quiet: Whether to hide the progress bar.
        image_ids: The pictures that are needed; None for all.

    Returns:
        A folder with newsarticles.csv, newsimages/, scenes.csv and, if all pictures are drawn,
        manifest.json.

    Raises:
        ValueError: If `n_articles` is not in [1, 100000].
    """
    if not 1 <= n_articles <= 100_000:
        raise ValueError(f"n_articles must be in [1, 100000], got {n_articles}")
    cache_dir = Path(cache_dir) if cache_dir is not None else user_cache_path("newsimg")
    folder = cache_dir / newsroom_name(n_articles, seed)
    if (folder / "manifest.json").is_file():
        return folder
    ids = _draw_ids(seed, n_articles)
    needed = list(ids[1] if image_ids is None else image_ids)
    if (folder / TABLE).is_file() and image_ids is not None and not _find_missing(folder, needed):
        return folder
    cache_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(cache_dir / f"{folder.name}.lock"):
        # Left by interrupted processes, which no longer hold the lock.
        for leftover in folder.parent.glob(f".{folder.name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if not (folder / TABLE).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            with _draft(folder) as draft:
                _write_tables(draft, *ids, seed)
                draft.chmod(0o755)  # mkdtemp creates it private, but a cache may be shared
                draft.rename(folder)
        if missing := _find_missing(folder, needed):
            with _draft(folder) as draft:
                _draw_pictures(folder, draft, missing, ids[1], seed, n_workers, quiet)
    return folder


def newsroom_name(n_articles: int, seed: int = DEFAULT_SEED) -> str:
    """Return the name of the folder, with a hash of all that determines its contents."""
    key = f"{GENERATOR_VERSION}-{seed}-{n_articles}"
    return f"{NEWSROOM}{n_articles}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def newsroom_story(seed: int, number: int, scene: Scene) -> Story:
    """Return the headline and tags of article `number` of the newsroom with this seed."""
    rng = np.random.default_rng([HEADLINE_STREAM, seed, number])
    return write_story(scene, rng, is_column(seed, number), NEWSROOM_MENTION_SCALE)


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder; a sibling, as a rename is atomic only within one file system."""
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with name_full_disk(folder):
            yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _find_missing(folder: Path, image_ids: Iterable[str]) -> set[str]:
    """Return the ids of the pictures that are not drawn yet."""
    return set(image_ids) - {path.stem for path in (folder / PICTURES).iterdir()}


def _write_tables(folder: Path, article_ids: list[str], image_ids: list[str], seed: int) -> None:
    scenes = [newsroom_scene(seed, number) for number in range(len(image_ids))]
    write_scenes(folder / "scenes.csv", dict(zip(image_ids, scenes, strict=True)))
    _write_articles(folder / TABLE, scenes, article_ids, image_ids, seed)
    (folder / PICTURES).mkdir()


def _draw_pictures(
    folder: Path,
    draft: Path,
    missing: AbstractSet[str],
    image_ids: list[str],
    seed: int,
    n_workers: int | None,
    quiet: bool,
) -> None:
    """Draw pictures in a temporary folder, add their words, and move them to the newsroom."""
    numbers = [number for number, image_id in enumerate(image_ids) if image_id in missing]
    scenes = {image_ids[number]: newsroom_scene(seed, number) for number in numbers}
    write_scenes(draft / "scenes.csv", scenes)
    draw_all(draft, len(scenes), n_workers, quiet)
    sources = choose_words(seed, len(image_ids))
    for number in numbers:
        name = f"{PICTURES}/{image_ids[number]}.jpg"
        if (source := sources[number]) is not None:
            add_words(draft / name, _describe(seed, source))
        (draft / name).rename(folder / name)
    if not _find_missing(folder, image_ids):
        manifest = {"version": GENERATOR_VERSION, "seed": seed, "n_articles": len(image_ids)}
        (draft / "manifest.json").write_text(json.dumps(manifest) + "\n", encoding="utf-8")
        (draft / "manifest.json").rename(folder / "manifest.json")


def _write_articles(
    path: Path, scenes: list[Scene], article_ids: list[str], image_ids: list[str], seed: int
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for number, scene in enumerate(scenes):
            article_id, image_id = article_ids[number], image_ids[number]
            story = newsroom_story(seed, number, scene)
            urls = (
                f"https://newsroom.example/articles/{article_id}",
                f"https://newsroom.example/images/{image_id}.jpg",
            )
            day = publish(seed, number).isoformat()
            writer.writerow((article_id, urls[0], story.title, story.tags, image_id, urls[1], day))


def _describe(seed: int, number: int) -> Words:
    scene = newsroom_scene(seed, number)
    rng = np.random.default_rng([WORDS_STREAM, seed, number])
    story, day = newsroom_story(seed, number, scene), publish(seed, number)
    return describe_picture(scene, story, day, is_column(seed, number), rng)


def _draw_ids(seed: int, n_articles: int) -> tuple[list[str], list[str]]:
    """Draw article ids and image ids in independent random orders."""
    rng = np.random.default_rng([ID_STREAM, seed])
    article_ids = rng.permutation(np.arange(100_000, 100_000 + n_articles))
    image_ids = rng.permutation(np.arange(500_000, 500_000 + n_articles))
    return [str(i) for i in article_ids], [str(i) for i in image_ids]
