"""Captions on disk: JSON Lines with one object per article, appended immediately."""

import hashlib
import json
import logging
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from newsimg.datatypes import Query
from newsimg.storage.files import name_full_disk

log = logging.getLogger(__name__)

ORIGIN = ("model", "revision", "prompt_hash", "settings")
RECORD = ("article_id", "title", "captions", *ORIGIN)
FIELDS = "fields"  # further values of the prompt, where it uses any


class CaptionFile:
    """The captions of one model, prompt and settings.

    Args:
        path: Path of the file, which is created at the first write.
        shared: Whether data sets share the file, so that an article id may have several titles.
    """

    def __init__(self, path: Path, *, shared: bool) -> None:
        self.path = path
        self.shared = shared

    def find(
        self,
        queries: Sequence[Query],
        origin: dict[str, Any] | None,
        values: Sequence[Mapping[str, str]] | None = None,
    ) -> list[dict[str, Any] | None]:
        """Return the record of each query, or None.

        Args:
            queries: The queries.
            origin: Where the captions must come from; None for anywhere.
            values: What the prompt uses beside the title, for each query; None for anything.

        Raises:
            ValueError: If the file is damaged, or was written for other articles or from another
                origin than `origin` (None accepts any); names the difference.
        """
        records = read_records(self.path)
        if origin is not None:
            for record in records:
                if difference := describe_difference(record, origin):
                    raise ValueError(f"{self.path} holds captions of another origin: {difference}")
        by_article = {(record["article_id"], record["title"]): record for record in records}
        by_prompt = {_name_prompt(one, one.get(FIELDS, {})): one for one in records}
        if not self.shared:
            titles = {record["article_id"]: record["title"] for record in records}
            for query in queries:
                title = titles.get(query.query_id, query.title)
                if (query.query_id, query.title) not in by_article and title != query.title:
                    raise ValueError(
                        f"{self.path} was made for other articles: its title of "
                        f"{query.query_id!r} is {title!r}, the data's is {query.title!r}"
                    )
        if values is None:
            return [by_article.get((query.query_id, query.title)) for query in queries]
        names = [
            _name_prompt({"article_id": query.query_id, "title": query.title}, own)
            for query, own in zip(queries, values, strict=True)
        ]
        return [by_prompt.get(name) for name in names]

    def read_n_asked(self) -> int:
        """Return the number of captions requested per article, or 0 if it is not recorded.

        Raises:
            ValueError: If the file is damaged.
        """
        asked = (record["settings"].get("num_captions", 0) for record in read_records(self.path))
        return next((n for n in asked if isinstance(n, int)), 0)

    def append(self, records: Iterable[dict[str, Any]]) -> None:
        """Append records and flush them to disk. The caller must hold the lock."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with name_full_disk(self.path), self.path.open("ab+") as file:
            _cut_torn_line(file, self.path)
            for record in records:
                file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    def lock(self) -> FileLock:
        """Return the lock for writers."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(f"{self.path}.lock")


def _name_prompt(record: Mapping[str, Any], values: Mapping[str, str]) -> str:
    """Return a key of an article, its title and the further values of the prompt."""
    return json.dumps([record["article_id"], record["title"], dict(values)], sort_keys=True)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read the records of a file; a missing file has none.

    A last line without newline is ignored: it is still being written, or its writer was killed.

    Raises:
        ValueError: If a line is not a valid record; names it. If the file is a JSON list; says how
            it is imported.
    """
    if not path.is_file():
        return []
    content = path.read_bytes()
    if content.lstrip().startswith(b"["):
        raise ValueError(
            f"{path} is a JSON list, expected JSON Lines: newsimg task=caption "
            f"{shlex.quote(f'task.import_path={path}')} task.import_csv=articles.csv converts it "
            "to a captions.jsonl, which can be used instead"
        )
    lines = content.split(b"\n")[:-1]
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}, is not JSON: {error}") from error
        if not isinstance(record, dict) or set(record) - {FIELDS} != set(RECORD):
            raise ValueError(f"{path}, line {number}, must have {', '.join(RECORD)}")
        if not all(isinstance(c, str) and c.strip() for c in record["captions"]):
            raise ValueError(f"{path}, line {number}, has an empty caption")
        records.append(record)
    return records


def describe_difference(record: dict[str, Any], origin: dict[str, Any]) -> str | None:
    """Describe the first difference between a record's origin and `origin`; None if equal."""
    for key in ORIGIN[:3]:
        if record[key] != origin[key]:
            return f"{key} is {record[key]!r} there, {origin[key]!r} here"
    for key in sorted(record["settings"].keys() | origin["settings"].keys()):
        there, here = (side["settings"].get(key) for side in (record, origin))
        if there != here:
            return f"settings.{key} is {there!r} there, {here!r} here"
    return None


def import_captions(
    lists_path: Path, articles: Sequence[Mapping[str, str]], csv_path: Path
) -> list[dict[str, Any]]:
    """Convert captions keyed by position to records keyed by article.

    Args:
        lists_path: JSON list with either a list of captions for each row of the CSV, or, as the
            original system wrote it, objects with `article_id` (a position), `title`,
            `article_url` and `captions`, which are matched with the articles by URL or title.
            Empty captions (padding) are dropped; an article without an object has no captions.
        articles: Articles in the order of the CSV: `article_id`, `article_title` and, if known,
            `article_url`.
        csv_path: Path of the articles, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has another structure or another number of lists than articles, or
            an object's URL and title are not those of one article.
    """
    if not lists_path.is_file():
        raise FileNotFoundError(f"no file of captions at {lists_path}")
    data = lists_path.read_bytes()
    try:
        rows = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{lists_path} is not JSON: {error}") from error
    if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
        lists = match_captions(lists_path, rows, articles, csv_path)
    else:
        lists = check_lists(lists_path, rows)
        if len(lists) != len(articles):
            raise ValueError(
                f"{lists_path} has captions for {len(lists)} rows, but {csv_path} has "
                f"{len(articles)}"
            )
    return [
        {
            "article_id": row["article_id"],
            "title": row["article_title"].strip(),
            "captions": [" ".join(caption.split()) for caption in captions if caption.strip()],
            "model": "imported",
            "revision": f"files:{hashlib.sha256(data).hexdigest()}",
            "prompt_hash": "",
            "settings": {"lists": lists_path.name},
        }
        for row, captions in zip(articles, lists, strict=True)
    ]


def check_lists(lists_path: Path, rows: Any) -> list[list[str]]:
    """Return the lists of captions of a file.

    Raises:
        ValueError: If it holds anything else.
    """
    if not isinstance(rows, list) or not all(_is_captions(row) for row in rows):
        raise ValueError(
            f"{lists_path} must hold a list of lists of captions, or of objects with title and "
            "captions"
        )
    return rows


def match_captions(
    lists_path: Path,
    rows: Sequence[Mapping[str, Any]],
    articles: Sequence[Mapping[str, str]],
    csv_path: Path,
) -> list[list[str]]:
    """Return the captions of each article from objects as the original system wrote them.

    Raises:
        ValueError: If an object is incomplete, no article or several have its URL and title, or two
            objects belong to one article; names the object.
    """
    found: dict[int, list[str]] = {}
    n_moved = 0
    places: dict[tuple[str, str], list[int]] = {}
    for i, article in enumerate(articles):
        url, title = article.get("article_url", ""), article["article_title"]
        for key in (("url", url.strip()), ("title", " ".join(title.split()))):
            places.setdefault(key, []).append(i)
    for number, row in enumerate(rows, start=1):
        where = f"{lists_path}, object {number}"
        title, url = " ".join(_unwrap(row.get("title")).split()), _unwrap(row.get("article_url"))
        if not title or not _is_captions(row.get("captions")):
            raise ValueError(f"{where}, must have title and captions, got {', '.join(row)}")
        matches = places.get(("title", title), [])
        if url.strip() and any(article.get("article_url") for article in articles):
            of_url = places.get(("url", url.strip()), [])
            matches = [i for i in of_url if i in matches]
        position = row.get("article_id")
        if len(matches) > 1 and position in matches:
            matches = [position]
        if len(matches) != 1:
            raise ValueError(
                f"{where}, title {title!r}, URL {url!r}: {len(matches) or 'no'} articles of "
                f"{csv_path} have both{_name_other(position, articles)}"
            )
        if matches[0] in found:
            raise ValueError(f"{where}, title {title!r}, belongs to the article of an earlier one")
        found[matches[0]] = row["captions"]
        n_moved += isinstance(position, int) and position != matches[0]
    for n, what in (
        (n_moved, "objects have another position (article_id) than their article in the CSV"),
        (len(articles) - len(found), "articles have no object, and so no captions"),
    ):
        if n:
            log.warning("%s: %d %s", lists_path, n, what)
    return [found.get(i, []) for i in range(len(articles))]


def _is_captions(row: Any) -> bool:
    return isinstance(row, list) and all(isinstance(caption, str) for caption in row)


def _unwrap(value: Any) -> str:
    """Return a text that may be alone in a list."""
    one = value[0] if isinstance(value, list) and len(value) == 1 else value
    return one if isinstance(one, str) else ""


def _name_other(position: Any, articles: Sequence[Mapping[str, str]]) -> str:
    if not isinstance(position, int) or not 0 <= position < len(articles):
        return ""
    other = articles[position]
    url = f", URL {other['article_url']!r}" if other.get("article_url") else ""
    return f"; at its position {position} there is {other['article_title'].strip()!r}{url}"


def _cut_torn_line(file: Any, path: Path) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 1, 0))
    if file.read() in (b"", b"\n"):
        return
    file.seek(0)
    content = file.read()
    log.warning("%s: dropping a line that was only half written", path)
    file.truncate(content.rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)
