"""The NewsImages benchmark's files: its articles, their pictures, its splits."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from newsimg.data.article_pictures import PictureFolder
from newsimg.data.editions import check_separator, read_articles, read_listed_ids
from newsimg.datatypes import Collection, Image, Query
from newsimg.storage.files import read_lines
from newsimg.storage.text.suggest import check_choices

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test", "all")
POOLS = ("split", "all")
ON_MISSING = ("raise", "skip")
N_TOLD = 10  # pictures that an error names


@dataclass(frozen=True)
class ArticleSource:
    """Which articles are taken, and what they are searched in.

    Args:
        split: train, val, test or all.
        subset: A CSV that lists the articles to take instead of a split.
        seed: Of the split's permutation.
        pool: "split" searches the pictures of the chosen articles, "all" those of all articles.
        separator: Of the CSV's values: comma, semicolon or tab.
        columns: The benchmark's name of a column -> what the CSV calls it, where that is another.
        on_missing: "raise" or "skip" pictures that are not there.
        on_damaged: "raise" or "skip" pictures that cannot be read.

    Raises:
        ValueError: If a value is not one of its choices.
    """

    split: str
    subset: Path | None
    seed: int
    pool: str
    separator: str
    columns: Mapping[str, str]
    on_missing: str
    on_damaged: str

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


def load_articles(name: str, csv_path: Path, image_dir: Path, source: ArticleSource) -> Collection:
    """Load the articles of a split or a subset as queries, with the pictures to search.

    An article whose picture is not told, or not there and skipped, is a query without judgement.

    Args:
        name: What to call the collection.
        csv_path: The benchmark's CSV.
        image_dir: Folder of pictures named by image id.
        source: Which articles, and which of the pictures.

    Raises:
        ValueError: If a value of the CSV is missing, empty or there twice, the split is empty, or
            two pictures have one id.
        FileNotFoundError: If a file, the folder or a picture is not there.
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
    folder = PictureFolder(image_dir)
    if not list_named(chosen):  # a test edition: which picture belongs where is not known
        paths = folder.open(folder.list_ids())
        images = tuple(Image(image_id, path) for image_id, path in paths.items())
        return Collection(name, queries, images, None, on_damaged=source.on_damaged)
    searched = list_named(articles if source.pool == "all" else chosen)
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
    """Return the image ids that articles name, each with the line that names it first."""
    named: dict[str, int] = {}
    for line, image_id in articles.get("image_id", pd.Series(dtype=object)).items():
        if image_id:
            named.setdefault(image_id, line)
    return named


def check_missing(
    searched: Mapping[str, int],
    found: Mapping[str, str],
    csv_path: Path,
    image_dir: Path,
    on_missing: str,
) -> int:
    """Return how many pictures are not there, with a warning.

    Raises:
        FileNotFoundError: If there are some, and `on_missing` is "raise"; names the first ten.
    """
    missing = sorted((searched[image_id], image_id) for image_id in searched.keys() - found.keys())
    if not missing:
        return 0
    first = ", ".join(f"{image_id!r} (line {line})" for line, image_id in missing[:N_TOLD])
    more = ", ..." if len(missing) > N_TOLD else ""
    what = (
        f"{image_dir} lacks {len(missing)} of the {len(searched)} pictures that {csv_path} names: "
        f"{first}{more}"
    )
    if on_missing == "raise":
        raise FileNotFoundError(
            f"{what}. A picture is named by its image_id at any depth of the folder; "
            "data.on_missing=skip does without"
        )
    log.warning("%s; they are skipped", what)
    return len(missing)


def choose_split(articles: pd.DataFrame, split: str, seed: int) -> pd.DataFrame:
    """Take a share of the permuted articles: train 80 %, then val 10 %, both rounded down, test."""
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
    """Take the articles whose ids a file lists, in the file's order.

    Raises:
        ValueError: If the file lists an article that is not among `articles`.
    """
    wanted = read_listed_ids(subset, columns)
    positions = pd.Index(articles["article_id"]).get_indexer(wanted)
    unknown = wanted[positions < 0]
    if len(unknown):
        raise ValueError(
            f"{subset} lists {len(unknown)} articles that the data lacks, "
            f"{unknown.iloc[0]!r} the first"
        )
    return articles.iloc[positions]


def read_subsets(subsets: Mapping[str, Path | None]) -> dict[str, list[str] | None]:
    """Return the ids that each file lists; None where there is none.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If it is not one of the benchmark's CSVs, or empty.
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
    """Return a row of the CSV as a query."""
    people, _, organisations = row.get("article_tags", "").partition("|")
    return Query(
        query_id=row["article_id"],
        title=row["article_title"].strip(),
        people=_split_tags(people),
        organisations=_split_tags(organisations),
    )


def _split_tags(tags: str) -> tuple[str, ...]:
    return tuple(tag.strip() for tag in tags.split(";") if tag.strip())


def read_headlines(path: Path) -> Sequence[Query]:
    """Read a CSV of articles as `data=queries` does, or else a text file, one headline in a line.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it cannot be read or holds no headline.
    """
    if path.suffix.lower() == ".csv":
        queries = [to_query(row) for row in read_articles(path).to_dict("records")]
    elif path.is_file():
        texts = (line.strip() for _, line in read_lines(path))
        queries = [Query(str(i), text) for i, text in enumerate(filter(None, texts))]
    else:
        raise FileNotFoundError(f"no file of headlines {path}")
    if not queries:
        raise ValueError(f"{path} holds no headlines")
    return queries
