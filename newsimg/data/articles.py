"""The NewsImages benchmark's files: the CSV in all its editions, its pictures, its splits."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from newsimg.datatypes import Collection, Image, Query
from newsimg.storage.pictures.images import EXTENSIONS

COLUMNS = [
    "article_id",
    "article_url",
    "article_title",
    "article_tags",
    "image_id",
    "image_url",
]
REQUIRED_COLUMNS = ("article_id", "article_title")
ID_COLUMNS = ("article_id", "image_id")
SPLITS = ("train", "val", "test", "all")
POOLS = ("split", "all")


def load_articles(
    name: str,
    *,
    csv_path: Path,
    image_dir: Path,
    split: str,
    subset: Path | None,
    seed: int,
    pool: str,
) -> Collection:
    """Load the articles of a split or a subset as queries, with the pictures to search.

    Args:
        name: What to call the collection.
        csv_path: The benchmark's CSV.
        image_dir: Folder of pictures named by image id.
        split: train, val, test or all.
        subset: A CSV that lists the articles to take instead of a split.
        seed: Of the split's permutation.
        pool: "split" searches the pictures of the chosen articles, "all" those of all articles.

    Raises:
        ValueError: If a value of the CSV is missing, empty or there twice, or the split is empty.
        FileNotFoundError: If a file, the folder or a picture is not there.
    """
    articles = read_articles(csv_path)
    chosen = choose_subset(articles, subset) if subset else choose_split(articles, split, seed)
    if chosen.empty:
        raise ValueError(
            f"subset {subset} is empty"
            if subset
            else f"split {split!r} of {csv_path} is empty: the file has {len(articles)} rows"
        )
    queries = tuple(to_query(row) for row in chosen.to_dict("records"))
    pictures = find_pictures(image_dir)
    if "image_id" not in articles:  # a test edition: which picture belongs where is not known
        images = tuple(Image(image_id, pictures[image_id]) for image_id in sorted(pictures))
        return Collection(name, queries, images, None)
    searched = (articles if pool == "all" else chosen)["image_id"]
    for row, image_id in searched.items():
        if image_id not in pictures:
            raise FileNotFoundError(
                f"{image_dir} has no picture for image_id {image_id!r} of {csv_path}, row {row}, "
                f"with one of the extensions {' '.join(EXTENSIONS)}"
            )
    images = tuple(Image(image_id, pictures[image_id]) for image_id in sorted(set(searched)))
    qrels = {row["article_id"]: {row["image_id"]: 1} for row in chosen.to_dict("records")}
    return Collection(name, queries, images, qrels)


def check_choices(split: str, pool: str) -> None:
    """Refuse a split or a pool that does not exist.

    Raises:
        ValueError: If one does not; names both the value and the choices.
    """
    if split not in SPLITS:
        raise ValueError(f"data.split must be one of {', '.join(SPLITS)}, got {split!r}")
    if pool not in POOLS:
        raise ValueError(f"data.pool must be one of {', '.join(POOLS)}, got {pool!r}")


def check_resplit(split: str, subset: Path | None) -> None:
    """Refuse another split of data that a list of articles was taken from.

    Raises:
        ValueError: If the split does not exist, or `subset` takes the place of splits.
    """
    check_choices(split, "split")
    if subset is not None:
        raise ValueError(f"data.subset must be null to take the split {split!r}, got {subset}")


def read_articles(csv_path: Path, names: Mapping[str, str] = MappingProxyType({})) -> pd.DataFrame:
    """Read any edition of the CSV, all values as text, indexed by their row in the file.

    A file without a header row has the columns in the benchmark's order, six of them or the first
    four.

    Args:
        csv_path: The file.
        names: The benchmark's name of a column -> what the file calls it, where that is another.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If a column is missing or there twice, an id is missing, there twice or not one
            word, or a title is empty.
    """
    if not csv_path.is_file():
        raise FileNotFoundError(f"no articles file {csv_path}")
    try:
        rows = pd.read_csv(
            csv_path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        ).fillna("")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{csv_path} is not a CSV in UTF-8: {error}") from error
    rows.index += 1
    first = [str(value).strip() for value in rows.iloc[0]]
    has_header = bool(names) or bool(set(first) & set(COLUMNS))
    if has_header:
        articles = _rename(rows.iloc[1:].set_axis(first, axis="columns"), names, csv_path)
    elif rows.shape[1] in (4, 6):
        articles = rows.set_axis(COLUMNS[: rows.shape[1]], axis="columns")
    else:
        raise ValueError(
            f"{csv_path} has no header row and {rows.shape[1]} columns; expected 4 or 6"
        )
    _check_articles(articles, csv_path)
    return articles


def _rename(articles: pd.DataFrame, names: Mapping[str, str], csv_path: Path) -> pd.DataFrame:
    """Give columns the benchmark's names; what had one of those names, and is not meant, goes."""
    for own in names.values():
        if list(articles).count(own) != 1:
            raise ValueError(f"{csv_path} must have the column {own} once, it has {list(articles)}")
    kept = [column for column in articles if column in names.values() or column not in names]
    return articles[kept].rename(columns={own: name for name, own in names.items()})


def _check_articles(articles: pd.DataFrame, csv_path: Path) -> None:
    for column in REQUIRED_COLUMNS:
        if column not in articles:
            raise ValueError(f"{csv_path} lacks the column {column}; it has {list(articles)}")
    for column in articles.columns[articles.columns.duplicated()]:
        if column in COLUMNS:
            raise ValueError(f"{csv_path} has the column {column} twice")
    for column in [column for column in (*REQUIRED_COLUMNS, "image_id") if column in articles]:
        for row in articles.index[articles[column].str.strip() == ""]:
            article_id = articles.loc[row, "article_id"]
            raise ValueError(f"{csv_path}: empty {column} (article {article_id!r}, row {row})")
    for column in [column for column in ID_COLUMNS if column in articles]:
        for row, value in articles[column][articles[column].str.contains(r"\s")].items():
            raise ValueError(
                f"{csv_path}: {column} must be one word, as TREC's files are separated by spaces, "
                f"got {value!r} (row {row})"
            )
    for row, article_id in articles["article_id"][articles["article_id"].duplicated()].items():
        raise ValueError(f"{csv_path}: article_id {article_id!r} is there twice (row {row})")


def choose_split(articles: pd.DataFrame, split: str, seed: int) -> pd.DataFrame:
    """Take a share of the permuted articles: train 80 %, then val 10 %, then test."""
    shuffled = articles.sample(frac=1, random_state=seed)
    train_end, val_end = int(0.8 * len(shuffled)), int(0.9 * len(shuffled))
    bounds = {
        "train": (0, train_end),
        "val": (train_end, val_end),
        "test": (val_end, len(shuffled)),
        "all": (0, len(shuffled)),
    }
    start, end = bounds[split]
    return shuffled.iloc[start:end]


def choose_subset(articles: pd.DataFrame, subset: Path) -> pd.DataFrame:
    """Take the articles whose ids a file lists, in the file's order.

    Raises:
        ValueError: If the file lists an article that is not among `articles`.
    """
    wanted = read_articles(subset)["article_id"]
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
        size: None if path is None else [str(i) for i in read_articles(path)["article_id"]]
        for size, path in subsets.items()
    }
    for size, listed in ids.items():
        if listed is not None and not listed:
            raise ValueError(f"subset {subsets[size]} is empty")
    return ids


def find_pictures(image_dir: Path) -> dict[str, Path]:
    """Map image ids to the pictures in a folder, by file name without the extension.

    Raises:
        FileNotFoundError: If the folder is not there.
        ValueError: If two pictures have the same id.
    """
    if not image_dir.is_dir():
        raise FileNotFoundError(f"no folder of pictures {image_dir}")
    pictures: dict[str, Path] = {}
    for path in sorted(image_dir.iterdir()):
        if path.suffix.lower() not in EXTENSIONS:
            continue
        if path.stem in pictures:
            raise ValueError(f"two pictures for one image id: {pictures[path.stem]} and {path}")
        pictures[path.stem] = path
    return pictures


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
