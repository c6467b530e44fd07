"""Results of `task=infer`: the candidates of each query."""

import json
import logging
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from newsimg.datatypes import Candidates, Collection, FusedArray, Image
from newsimg.evaluation.comparison import find_rows
from newsimg.storage.files import write_atomically
from newsimg.storage.metadata.fields import METADATA

log = logging.getLogger(__name__)

FILE_NAME = "results.parquet"
COLUMNS = ("article_id", "rank", "image_id", "path", "member")
CREDITS = ("author", "credit", "source", "licence", "page_url")
LEAD = "lead"  # the article's first sentences, if the data have such a column
IMAGE_TITLE = "image_title"  # the column `title` is the headline


@dataclass(frozen=True)
class Choice:
    """A candidate of an article: the picture and, if known, its credits."""

    image: Image
    credit: Mapping[str, str]


Results = Mapping[str, Sequence[Choice]]
"""Article id -> its candidates, best first."""


def read_results(source: Path) -> Results:
    """Read the candidates of all articles but those that are left without a picture.

    Args:
        source: The Parquet file, or the folder of the run that wrote it.

    Raises:
        FileNotFoundError: If the file does not exist.
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
    columns = {_name_column(name): name for name in METADATA if _name_column(name) in names}
    credits = [name for name in CREDITS if name in names]
    optional = [name for name in ("digest", "truncated", "unsure") if name in names]
    table = pq.read_table(path, columns=[*COLUMNS, *columns, *optional])
    for name in COLUMNS[:-1]:
        if table[name].null_count:
            raise ValueError(f"{path}: {name} must not be null, got {table[name].null_count} nulls")
    ranked: dict[str, dict[int, Choice]] = {}
    unsure = set()
    for row in table.to_pylist():
        if row.get("unsure"):
            unsure.add(str(row["article_id"]))
            continue
        known = row.get("digest"), bool(row.get("truncated", False))
        metadata = {name: row[column] for column, name in columns.items() if row[column]}
        image = Image(str(row["image_id"]), Path(row["path"]), row["member"], *known, metadata)
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
    if unsure:
        left = f"{len(unsure)} of {len(unsure) + len(ranked)} articles"
        text = f"{path}: {left} are without a picture, as their confidence is below"
        text += f" task.min_confidence, first: {min(unsure)!r}"
        if not ranked:
            raise ValueError(text)
        log.warning("%s", text)
    if not ranked:
        raise ValueError(f"{path} holds no articles")
    return {
        article_id: [found[rank] for rank in sorted(found)] for article_id, found in ranked.items()
    }


def read_titles(source: Path) -> dict[str, str]:
    """Return the headline of each article; empty if the results have none.

    Args:
        source: See `read_results`.
    """
    return _read_texts(source, "title")


def read_leads(source: Path) -> dict[str, str]:
    """Return the lead of each article that has one.

    Args:
        source: See `read_results`.
    """
    return _read_texts(source, LEAD)


def _read_texts(source: Path, column: str) -> dict[str, str]:
    path = source / FILE_NAME if source.is_dir() else source
    if column not in pq.read_schema(path).names:
        return {}
    columns = pq.read_table(path, columns=["article_id", column]).to_pydict()
    pairs = zip(columns["article_id"], columns[column], strict=True)
    return {str(article_id): str(text) for article_id, text in pairs if text}


def read_warning(source: Path) -> str:
    """Return the warning of an infer run; empty for none.

    Args:
        source: See `read_results`.
    """
    path = (source if source.is_dir() else source.parent) / "summary.json"
    if not path.is_file():
        return ""
    return str(json.loads(path.read_text(encoding="utf-8")).get("warning", ""))


BATCH = 1000  # queries per batch


def gather(collection: Collection, candidates: Candidates) -> tuple[Collection, Candidates]:
    """Reduce a pool to the candidates and relevant images, so that image objects are created once.

    Returns:
        The collection and its candidates over the candidates' own pictures and the editors', in
        image-id order. It has judgements if an editor's picture is in the pool.
    """
    qrels = collection.qrels or {}
    wanted = {image_id for relevant in qrels.values() for image_id in relevant}
    editors = find_rows(candidates.images, wanted)
    own = np.array(sorted(editors.values()), np.int64)
    kept = np.union1d(candidates.rows, own)
    images = tuple(candidates.images[row] for row in kept)
    rows = np.searchsorted(kept, candidates.rows)
    narrowed = replace(collection, images=images, qrels=qrels if editors else None)
    return narrowed, replace(candidates, images=images, rows=rows)


def write_results(
    output_dir: Path,
    collection: Collection,
    reranked: Candidates,
    truncated: Sequence[bool],
    confidences: FusedArray | None = None,
    unsure: Container[int] = (),
) -> None:
    """Write `results.parquet` and `results.jsonl`: a row for each candidate of each query.

    Files are written atomically. A score that is not finite is null. If the data have leads, so
    have the rows.

    Args:
        output_dir: Where.
        collection: The queries.
        reranked: Their candidates after reranking.
        truncated: Whether each headline was truncated by the backbone.
        confidences: (n_queries,) in the first candidate of each query, which has the column
            `confidence`; None for no such column.
        unsure: Positions of the queries that are left without a picture, by the column `unsure`.
    """
    known = [
        name
        for name in METADATA
        if any((image.metadata or {}).get(name) for image in reranked.images)
    ]
    schema = make_schema(reranked, known)
    if any(query.fields.get(LEAD) for query in collection.queries):
        schema = schema.append(pa.field(LEAD, pa.string()))
    if confidences is not None:
        schema = schema.append(pa.field("confidence", pa.float64()))
        schema = schema.append(pa.field("unsure", pa.bool_()))

    def describe_confidence(i: int, rank: int) -> dict[str, Any]:
        if confidences is None:
            return {}
        return {"confidence": float(confidences[i]) if rank == 1 else None, "unsure": i in unsure}

    with ExitStack() as stack:
        parquet, lines = (
            stack.enter_context(write_atomically(output_dir / f"results.{suffix}"))
            for suffix in ("parquet", "jsonl")
        )
        writer = stack.enter_context(pq.ParquetWriter(parquet, schema))
        file = stack.enter_context(lines.open("w", encoding="utf-8"))
        for start in range(0, len(collection.queries), BATCH):
            part = range(start, min(start + BATCH, len(collection.queries)))
            rows = [
                {"query_truncated": truncated[i], **row, **describe_confidence(i, row["rank"])}
                for i in part
                for row in list_rows(i, collection, reranked, known)
            ]
            table = pa.Table.from_pylist(rows, schema)
            writer.write_table(table)
            for row in table.to_pylist():
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def make_schema(reranked: Candidates, known: Sequence[str]) -> pa.Schema:
    """Return the columns of the results.

    Args:
        reranked: Candidates, for the names of the component scores and explanations.
        known: Known metadata of the pictures.
    """
    criteria = [name for name in reranked.parts if name.startswith("criterion/")]
    return pa.schema(
        [
            ("article_id", pa.string()),
            ("rank", pa.int64()),
            ("title", pa.string()),
            ("query_truncated", pa.bool_()),
            *((name, pa.string()) for name in ("image_id", "uri", "path", "member")),
            ("digest", pa.string()),
            ("truncated", pa.bool_()),
            ("retrieval", pa.float32()),
            ("rerank", pa.float32()),
            ("fused", pa.float64()),
            *((name, pa.float32()) for name in criteria),
            *((name, pa.string()) for name in reranked.texts),
            *((_name_column(name), pa.string()) for name in known),
        ]
    )


def list_rows(
    position: int, collection: Collection, reranked: Candidates, known: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield the candidates of a query, best first."""
    query = collection.queries[position]
    scores = {name: part[position] for name, part in reranked.parts.items()}
    scores["fused"] = reranked.scores[position]
    lead = {LEAD: text} if (text := query.fields.get(LEAD)) else {}
    for i, row in enumerate(reranked.rows[position].tolist()):
        image = reranked.images[row]
        metadata: Mapping[str, str] = image.metadata or {}
        yield {
            "article_id": query.query_id,
            "rank": i + 1,
            "title": query.title,
            **lead,
            "image_id": image.image_id,
            "uri": image.uri,
            "path": str(image.path),
            "member": image.member,
            "digest": image.digest,
            "truncated": image.truncated,
            **{name: _finite(part[i]) for name, part in scores.items()},
            **{name: texts[position][i] for name, texts in reranked.texts.items()},
            **{_name_column(name): metadata.get(name) for name in known},
        }


def _name_column(name: str) -> str:
    return IMAGE_TITLE if name == "title" else name


def _finite(score: Any) -> float | None:
    return float(score) if np.isfinite(score) else None
