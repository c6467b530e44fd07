"""What `task=infer` found, read back from its Parquet file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from newsimg.datatypes import Image

FILE_NAME = "results.parquet"
COLUMNS = ("article_id", "rank", "image_id", "path", "member")
CREDITS = ("author", "licence", "page_url")


@dataclass(frozen=True)
class Choice:
    """A candidate of an article: the picture, and whom to credit for it where that is known."""

    image: Image
    credit: Mapping[str, str]


Results = Mapping[str, Sequence[Choice]]
"""Article id -> its candidates, best first."""


def read_results(source: Path) -> Results:
    """Read the candidates of all articles.

    Args:
        source: The Parquet file, or the folder of the run that wrote it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no Parquet file, lacks a column or a value, or an article's ranks are
            not 1, 2, 3 and so on.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = source / FILE_NAME if source.is_dir() else source
    if not path.is_file():
        raise FileNotFoundError(f"no results of task=infer at {path}")
    try:
        names = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a Parquet file: {error}") from error
    if missing := [name for name in COLUMNS if name not in names]:
        raise ValueError(f"{path} lacks the column {missing[0]}; it has {', '.join(names)}")
    credits = [name for name in CREDITS if name in names]
    optional = [name for name in ("digest", "truncated") if name in names]
    table = pq.read_table(path, columns=[*COLUMNS, *credits, *optional])
    for name in COLUMNS[:-1]:
        if table[name].null_count:
            raise ValueError(f"{path}: {name} must not be null, got {table[name].null_count} nulls")
    ranked: dict[str, dict[int, Choice]] = {}
    for row in table.to_pylist():
        known = row.get("digest"), bool(row.get("truncated", False))
        image = Image(str(row["image_id"]), Path(row["path"]), row["member"], *known)
        credit = {name: row[name] or "" for name in credits}
        found = ranked.setdefault(str(row["article_id"]), {})
        if row["rank"] in found:
            raise ValueError(f"{path}: article {row['article_id']!r} has rank {row['rank']} twice")
        found[row["rank"]] = Choice(image, credit)
    for article_id, found in ranked.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            raise ValueError(
                f"{path}: the ranks of article {article_id!r} must be 1 to {len(found)}, "
                f"got {', '.join(map(str, sorted(found)))}"
            )
    if not ranked:
        raise ValueError(f"{path} holds no articles")
    return {
        article_id: [found[rank] for rank in sorted(found)] for article_id, found in ranked.items()
    }
