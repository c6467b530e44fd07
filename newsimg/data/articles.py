"""Loading of articles in the layout of the NewsImages benchmark, with their pictures and splits."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from newsimg.data.article_pictures import PictureFolder
from newsimg.data.editions import COLUMNS, check_separator, read_articles, read_listed_ids
from newsimg.datatypes import Collection, Image, PictureFilter, Query
from newsimg.storage.files import read_lines
from newsimg.storage.text.suggest import check_choices

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test", "all")
POOLS = ("split", "all")
ON_MISSING = ("raise", "skip")
N_SHOWN = 10  # missing pictures in a message


@dataclass(frozen=True)
class ArticleSource:
    """Which articles are loaded, and which pictures are searched.

    Args:
        split: train, val, test or all.
        subset: List of the articles to load instead of a split, see `read_listed_ids`.
        seed: Seed of the permutation that defines the split.
        pool: "split" searches the pictures of the chosen articles, "all" those of all articles.
        separator: Separator of the CSV: comma, semicolon or tab.
        columns: The benchmark's column name -> column name in the CSV, where they differ.
        on_missing: Whether to "raise" on or "skip" missing pictures.
        on_damaged: Whether to "raise" on or "skip" unreadable pictures.
        filter: Which pictures are searched; None for all.

    Raises:
        ValueError: If an option has an invalid value.
    """

    split: str
    subset: Path | None
    seed: int
    pool: str
    separator: str
    columns: Mapping[str, str]
    on_missing: str
    on_damaged: str
    filter: PictureFilter | None = None

    def __post_init__(self) -> None:
        check_separator(self.separator)
        check_choices(
            {
                "data.split": (self.split, SPLITS),
                "data.pool": (self.pool, POOLS),
                "data.on_missing": (self.on_missing, ON_MISSING),
                "data.on_damaged": (self.on_damaged, ON_MISSING),
            }
        )

    def with_split(self, split: str) -> "ArticleSource":
        """Return the same with another split, which takes the place of a subset.

        Raises:
            ValueError: If the split does not exist.
        """
        return replace(self, split=split, subset=None)


def load_articles(
    name: str,
    csv_path: Path,
    image_dir: Path,
    source: ArticleSource,
    provide: Callable[[Sequence[str]], None],
) -> Collection:
    """Load the articles of a split or subset as queries, with the pictures to search.

    An article without an image id, or whose missing picture is skipped, is a query without
    judgement.

    Args:
        name: Name of the collection.
        csv_path: CSV of the articles.
        image_dir: Folder of pictures named by image id.
        source: Selection of articles and pictures.
        provide: Called with the ids of the pictures before they are looked up.

    Raises:
        ValueError: If a required value of the CSV is missing, empty or duplicated, the split is
            empty, or two pictures have the same id.
        FileNotFoundError: If a file, the folder or a picture does not exist.
    """
    articles = read_articles(csv_path, source.columns, source.separator)
    if source.subset:
        chosen = choose_subset(articles, source.subset, source.columns)
    else:
        chosen = choose_split(articles, source.split, source.seed)
    if chosen.empty:
        raise ValueError(
            f"subset {source.subset} is empty"
            if source.subset
            else f"split {source.split!r} of {csv_path} is empty: the file has {len(articles)} rows"
        )
    queries = tuple(to_query(row) for row in chosen.to_dict("records"))
    searched = list_named(articles if source.pool == "all" else chosen)
    provide(list(searched))
    folder = PictureFolder(image_dir)
    if not list_named(chosen):  # a test edition without ground truth
        paths = folder.open(folder.list_ids())
        images = tuple(Image(image_id, path) for image_id, path in paths.items())
        return Collection(
            name, queries, images, None, on_damaged=source.on_damaged, filter=source.filter
        )
    found = folder.locate(list(searched))
    n_missing = check_missing(searched, found, csv_path, image_dir, source.on_missing)
    paths = folder.open(sorted(set(found.values())))
    return Collection(
        name,
        queries,
        tuple(Image(image_id, path) for image_id, path in paths.items()),
        {
            row["article_id"]: {found[row["image_id"]]: 1}
            for row in chosen.to_dict("records")
            if row["image_id"] in found
        },
        on_damaged=source.on_damaged,
        filter=source.filter,
        named_in={found[i]: f"{csv_path.name}, line {searched[i]}" for i in found},
        skipped={
            kind: n
            for kind, n, choice in (
                ("missing", n_missing, source.on_missing),
                ("damaged", 0, source.on_damaged),
            )
            if choice == "skip"
        },
    )


def list_named(articles: pd.DataFrame) -> dict[str, int]:
    """Return the image ids of articles, each with the first line that contains it."""
    named: dict[str, int] = {}
    for line, image_id in articles.get("image_id", pd.Series(dtype=object)).items():
        if image_id:
            named[image_id] = min(line, named.get(image_id, line))  # a split is shuffled
    return named


def check_missing(
    searched: Mapping[str, int],
    found: Mapping[str, str],
    csv_path: Path,
    image_dir: Path,
    on_missing: str,
) -> int:
    """Return the number of missing pictures; log a warning if there are any.

    Raises:
        FileNotFoundError: If there are any and `on_missing` is "raise"; names the first ten.
    """
    missing = sorted((searched[image_id], image_id) for image_id in searched.keys() - found.keys())
    if not missing:
        return 0
    first = ", ".join(f"{image_id!r} (line {line})" for line, image_id in missing[:N_SHOWN])
    more = ", ..." if len(missing) > N_SHOWN else ""
    what = (
        f"{image_dir} lacks {len(missing)} of the {len(searched)} pictures that {csv_path} names: "
        f"{first}{more}"
    )
    if on_missing == "raise":
        raise FileNotFoundError(
            f"{what}. The file name of a picture must be its image_id, at any depth of the folder; "
            "set data.on_missing=skip to skip missing pictures"
        )
    log.warning("%s; they are skipped", what)
    return len(missing)


def choose_split(articles: pd.DataFrame, split: str, seed: int) -> pd.DataFrame:
    """Return a split of the permuted articles: 80 % train, 10 % val, both rounded down, test."""
    shuffled = articles.sample(frac=1, random_state=seed)
    train_end = int(0.8 * len(shuffled))
    val_end = train_end + int(0.1 * len(shuffled))
    bounds = {
        "train": (0, train_end),
        "val": (train_end, val_end),
        "test": (val_end, len(shuffled)),
        "all": (0, len(shuffled)),
    }
    start, end = bounds[split]
    return shuffled.iloc[start:end]


def choose_subset(articles: pd.DataFrame, subset: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the articles whose ids a file lists, in the file's order.

    Raises:
        ValueError: If an id is not in `articles`.
    """
    wanted = read_listed_ids(subset, columns)
    positions = pd.Index(articles["article_id"]).get_indexer(wanted)
    unknown = wanted[positions < 0]
    if len(unknown):
        raise ValueError(
            f"{subset} lists {len(unknown)} articles that are not in the data, "
            f"the first is {unknown.iloc[0]!r} (line {unknown.index[0]})"
        )
    return articles.iloc[positions]


def read_subsets(subsets: Mapping[str, Path | None]) -> dict[str, list[str] | None]:
    """Return the ids that each file lists; None for a path of None.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is not a list of articles, or is empty.
    """
    ids = {
        size: None if path is None else [str(i) for i in read_listed_ids(path)]
        for size, path in subsets.items()
    }
    for size, listed in ids.items():
        if listed is not None and not listed:
            raise ValueError(f"subset {subsets[size]} is empty")
    return ids


def to_query(row: Mapping[str, str]) -> Query:
    """Convert a row of the CSV to a query."""
    people, _, organisations = row.get("article_tags", "").partition("|")
    return Query(
        query_id=row["article_id"],
        title=row["article_title"].strip(),
        people=_split_tags(people),
        organisations=_split_tags(organisations),
        columns=tuple((name, value) for name, value in row.items() if name not in COLUMNS),
    )


def _split_tags(tags: str) -> tuple[str, ...]:
    return tuple(tag.strip() for tag in tags.split(";") if tag.strip())


def read_headlines(path: Path) -> Sequence[Query]:
    """Read the headlines of a CSV of articles, or of a text file with one headline per line.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be read or has no headlines.
    """
    if path.suffix.lower() == ".csv":
        queries = [to_query(row) for row in read_articles(path).to_dict("records")]
    elif path.is_file():
        texts = (line.strip() for _, line in read_lines(path))
        queries = [Query(str(i), text) for i, text in enumerate(filter(None, texts))]
    else:
        raise FileNotFoundError(f"no file of headlines at {path}")
    if not queries:
        raise ValueError(f"{path} holds no headlines")
    return queries
