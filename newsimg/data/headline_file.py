"""Headlines of a file, for what needs no more of them than their words."""

from collections.abc import Sequence
from pathlib import Path

from newsimg.data.articles import read_articles, to_query
from newsimg.datatypes import Query
from newsimg.storage.files import read_lines


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
