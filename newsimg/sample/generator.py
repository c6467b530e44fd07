"""Generate the sample newsroom: pictures and a table of articles, created at first use."""

import csv
import hashlib
import json
import shutil
import tempfile
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
    add_words,
    choose_words,
    describe_picture,
    publish,
)

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


def ensure_newsroom(
    cache_dir: Path | None = None,
    n_articles: int = 4000,
    seed: int = DEFAULT_SEED,
    n_workers: int | None = None,
    quiet: bool = False,
) -> Path:
    """Return the folder of the sample newsroom, which is generated if it does not exist.

    The folder is created atomically, under a temporary name; concurrent processes wait for the
    first one.

    Args:
        cache_dir: Folder of the newsrooms; by default the user's cache folder.
        n_articles: Number of articles, each with one picture.
        seed: Random seed.
        n_workers: Number of drawing processes; by default the number of usable cores.
        quiet: Whether to hide the progress bar.

    Returns:
        A folder with newsarticles.csv, newsimages/, scenes.csv and manifest.json.

    Raises:
        ValueError: If `n_articles` is not in [1, 100000].
    """
    if not 1 <= n_articles <= 100_000:
        raise ValueError(f"n_articles must be in [1, 100000], got {n_articles}")
    cache_dir = Path(cache_dir) if cache_dir is not None else user_cache_path("newsimg")
    folder = cache_dir / newsroom_name(n_articles, seed)
    if (folder / "manifest.json").is_file():
        return folder
    cache_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(cache_dir / f"{folder.name}.lock"):
        if not (folder / "manifest.json").is_file():
            _make_newsroom(folder, n_articles, seed, n_workers, quiet)
    return folder


def newsroom_name(n_articles: int, seed: int = DEFAULT_SEED) -> str:
    """Return the name of the folder, with a hash of all that determines its contents."""
    key = f"{GENERATOR_VERSION}-{seed}-{n_articles}"
    return f"{NEWSROOM}{n_articles}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def newsroom_story(seed: int, number: int, scene: Scene) -> Story:
    """Return the headline and tags of article `number` of the newsroom with this seed."""
    rng = np.random.default_rng([HEADLINE_STREAM, seed, number])
    return write_story(scene, rng, is_column(seed, number), NEWSROOM_MENTION_SCALE)


def _make_newsroom(
    folder: Path, n_articles: int, seed: int, n_workers: int | None, quiet: bool
) -> None:
    # The temporary folder is a sibling, as a rename is atomic only within one file system. Folders
    # of interrupted processes can be removed, as the caller holds the lock.
    for leftover in [*folder.parent.glob(f".{folder.name}.*"), folder]:
        shutil.rmtree(leftover, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        scenes = [newsroom_scene(seed, number) for number in range(n_articles)]
        article_ids, image_ids = _draw_ids(seed, n_articles)
        write_scenes(draft / "scenes.csv", dict(zip(image_ids, scenes, strict=True)))
        _write_articles(draft / "newsarticles.csv", scenes, article_ids, image_ids, seed)
        draw_all(draft, n_articles, n_workers, quiet)
        _write_words(draft / "newsimages", scenes, image_ids, seed)
        manifest = {"version": GENERATOR_VERSION, "seed": seed, "n_articles": n_articles}
        (draft / "manifest.json").write_text(json.dumps(manifest) + "\n", encoding="utf-8")
        draft.chmod(0o755)  # mkdtemp creates it private, but a cache may be shared
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


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


def _write_words(folder: Path, scenes: list[Scene], image_ids: list[str], seed: int) -> None:
    described = []
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng([WORDS_STREAM, seed, number])
        story, day = newsroom_story(seed, number, scene), publish(seed, number)
        described.append(describe_picture(scene, story, day, is_column(seed, number), rng))
    for image_id, words in zip(image_ids, choose_words(seed, described), strict=True):
        if words:
            add_words(folder / f"{image_id}.jpg", words)


def _draw_ids(seed: int, n_articles: int) -> tuple[list[str], list[str]]:
    """Draw article ids and image ids in independent random orders."""
    rng = np.random.default_rng([ID_STREAM, seed])
    article_ids = rng.permutation(np.arange(100_000, 100_000 + n_articles))
    image_ids = rng.permutation(np.arange(500_000, 500_000 + n_articles))
    return [str(i) for i in article_ids], [str(i) for i in image_ids]
