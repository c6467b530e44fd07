"""The file of a run's candidates, from which runs are compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from newsimg.datatypes import Candidates, Collection, Image, IntArray, Qrels
from newsimg.evaluation.comparison import find_rows
from newsimg.reporting.results import FILE_NAME, IMAGE_TITLE
from newsimg.storage.files import write_atomically
from newsimg.storage.metadata.fields import METADATA

CANDIDATES = "candidates.parquet"
SCORES = ("retrieval", "rerank", "fused")
NEEDED = ("article_id", "rank", "title", "image_id", "path", *SCORES)
OF_PICTURE = ("path", "member", "digest", "truncated")
TEXT = pa.string()
COLUMNS = {name: IMAGE_TITLE if name == "title" else name for name in METADATA}


@dataclass(frozen=True, eq=False)
class RunCandidates:
    """The candidates of a run after reranking, as its folder has them.

    Attributes:
        titles: Article id -> headline, in the order of the run.
        ranked: Article id -> image ids, best first.
        scores: Article id -> (top_k, 3) scores of retrieval, reranker and both; NaN where there
            is none.
        images: The candidates and the editors' pictures, by id.
        qrels: Editors' pictures of the articles; empty if the run does not know them.
        unsure: Articles that the run leaves without a picture, by `task.min_confidence`.
    """

    titles: dict[str, str]
    ranked: dict[str, list[str]]
    scores: dict[str, np.ndarray]
    images: dict[str, Image]
    qrels: Qrels
    unsure: frozenset[str] = frozenset()


def write_candidates(output_dir: Path, collection: Collection, reranked: Candidates) -> None:
    """Write `candidates.parquet`: the candidates of each query, and the editors' pictures.

    The columns are those of the results of task=infer, and `relevant`, which marks editors'
    pictures. Editors' pictures that are no candidates have no rank; without a path they are not in
    the pool either. Texts are dictionary-encoded, so that the jobs of a sweep write it in
    milliseconds.

    Args:
        output_dir: Folder of the run.
        collection: Queries, and the editors' pictures.
        reranked: The candidates after reranking.
    """
    queries, qrels = collection.queries, collection.qrels or {}
    n_queries, top_k = reranked.rows.shape
    wanted = [qrels.get(query.query_id, {}) for query in queries]
    editors = find_rows(reranked.images, {image_id for own in wanted for image_id in own})
    kept, places = np.unique(
        np.concatenate([reranked.rows.ravel(), np.array([*editors.values()], np.int64)]),
        return_inverse=True,
    )
    images = [reranked.images[row] for row in kept.tolist()]
    position = {image.image_id: place for place, image in enumerate(images)}
    picked = places[: n_queries * top_k].reshape(n_queries, top_k)
    is_relevant = np.zeros((n_queries, top_k), dtype=bool)
    missed: list[tuple[int, str]] = []
    for i, own in enumerate(wanted):
        for image_id in own:
            found = picked[i] == position.get(image_id, -1)
            is_relevant[i] |= found
            if not found.any():
                missed.append((i, image_id))
    unknown = dict.fromkeys(image_id for _, image_id in missed if image_id not in position)
    position |= {image_id: len(images) + i for i, image_id in enumerate(unknown)}
    of_query = np.repeat(np.arange(n_queries), top_k).tolist() + [i for i, _ in missed]
    of_image = picked.ravel().tolist() + [position[image_id] for _, image_id in missed]
    filling = [None] * len(missed)

    def pick(values: Sequence[Any], kind: pa.DataType, places: Sequence[int]) -> pa.Array:
        return pa.array(values, kind).take(pa.array(places))

    def describe(name: str) -> list[Any]:
        values = [getattr(image, name) for image in images] + [None] * len(unknown)
        return [None if value is None else str(value) for value in values]

    columns: dict[str, Any] = {
        "article_id": pick([query.query_id for query in queries], TEXT, of_query),
        "title": pick([query.title for query in queries], TEXT, of_query),
        "rank": pa.array(np.tile(np.arange(1, top_k + 1), n_queries).tolist() + filling),
        "relevant": pa.array(is_relevant.ravel().tolist() + [True] * len(missed)),
        "image_id": pick(list(position), TEXT, of_image),
        **{name: pick(describe(name), TEXT, of_image) for name in OF_PICTURE[:-1]},
        "truncated": pick(
            [image.truncated for image in images] + [None] * len(unknown), pa.bool_(), of_image
        ),
    }
    parts = {**reranked.parts, "fused": reranked.scores}
    for name in SCORES:
        if name in parts:
            scores = np.append(parts[name].ravel(), np.full(len(missed), np.nan))
            columns[name] = pa.array(scores.astype(np.float32))
    for name, column in COLUMNS.items():
        known = [(image.metadata or {}).get(name) or None for image in images]
        if any(known):
            columns[column] = pick(known + [None] * len(unknown), TEXT, of_image)
    with write_atomically(output_dir / CANDIDATES) as temporary:
        pq.write_table(pa.table(columns), temporary)


def find_candidates(folder: Path) -> Path | None:
    """Return the file of a run's candidates; None if it has none."""
    paths = (folder / name for name in (CANDIDATES, FILE_NAME))
    return next((path for path in paths if path.is_file()), None)


def read_candidates(path: Path) -> RunCandidates:
    """Read the candidates of a run of task=evaluate or task=infer.

    Args:
        path: See `find_candidates`.

    Raises:
        ValueError: If the file is damaged, lacks a column or has no rows.
    """
    try:
        names = pq.read_schema(path).names
        if missing := [name for name in NEEDED if name not in names]:
            raise ValueError(f"{path} lacks the column {missing[0]}; it has {', '.join(names)}")
        optional = ("relevant", "unsure", *OF_PICTURE[1:], *COLUMNS.values())
        wanted = [*NEEDED, *(name for name in optional if name in names)]
        table = pq.read_table(path, columns=wanted)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is damaged, run its command again: {error}") from error
    if not table.num_rows:
        raise ValueError(f"{path} has no candidates")
    frame = pd.DataFrame({n: table[n].to_numpy(zero_copy_only=False) for n in wanted})
    is_candidate = frame["rank"].notna().to_numpy()
    relevant = frame[frame["relevant"].astype(bool)] if "relevant" in frame else frame[:0]
    qrels: dict[str, dict[str, int]] = {}
    for article_id, image_id in zip(relevant["article_id"], relevant["image_id"], strict=True):
        qrels.setdefault(article_id, {})[image_id] = 1
    unsure = frame[frame["unsure"].astype(bool)] if "unsure" in frame else frame[:0]
    titles = frame.drop_duplicates("article_id").set_index("article_id")["title"].fillna("")
    candidates = frame[is_candidate].sort_values("rank", kind="stable")
    ids, scores = candidates["image_id"].to_numpy(), candidates[list(SCORES)].to_numpy(np.float32)
    places: dict[str, IntArray] = candidates.groupby("article_id", sort=False).indices
    return RunCandidates(
        titles.to_dict(),
        {name: ids[places[name]].tolist() if name in places else [] for name in titles.index},
        {name: scores[places[name]] for name in places},
        _read_images(table),
        qrels,
        frozenset(unsure["article_id"]),
    )


def _read_images(table: pa.Table) -> dict[str, Image]:
    # Not by pandas, whose missing texts are NaN.
    _, first = np.unique(table["image_id"].to_numpy(zero_copy_only=False), return_index=True)
    columns = {name: column for name, column in COLUMNS.items() if column in table.column_names}
    images = {}
    for row in table.take(np.sort(first)).to_pylist():
        if row["path"] is None:
            continue
        metadata = {name: row[column] for name, column in columns.items() if row[column]}
        known = row.get("member"), row.get("digest"), bool(row.get("truncated"))
        images[row["image_id"]] = Image(row["image_id"], Path(row["path"]), *known, metadata)
    return images
