"""Measures of compared runs by people's ratings."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from newsimg.datatypes import Rating
from newsimg.evaluation.metrics import CUTOFFS
from newsimg.evaluation.ratings.measures import bound_measures, measure_ratings
from newsimg.evaluation.ratings.rated import RatedPictures, arrange_ratings
from newsimg.evaluation.ratings.resampling import draw_resamples
from newsimg.storage.files import write_atomically

log = logging.getLogger(__name__)

GIVEN = "ratings.parquet"
N_RESAMPLES, SEED = 1000, 28
Ranked = Mapping[str, Sequence[str]]  # article id -> image ids, best first
Pair = tuple[int, int]


def write_given(output_dir: Path, rated: RatedPictures) -> None:
    """Write the ratings that a run was measured by, for comparisons: `ratings.parquet`.

    Args:
        output_dir: Folder of the run.
        rated: The ratings, whose people have pseudonyms.
    """
    columns = {
        "article_id": [rated.query_ids[query] for query in rated.query[rated.picture]],
        "image_id": [rated.image_ids[picture] for picture in rated.picture],
        "rating": rated.value,
        "rater": [f"r{rater + 1}" if rater >= 0 else "" for rater in rated.rater],
    }
    table = pa.table(columns).replace_schema_metadata({"low": repr(rated.low)})
    with write_atomically(output_dir / GIVEN) as temporary:
        pq.write_table(table, temporary)


def read_given(folders: Sequence[Path], ids: Sequence[str]) -> RatedPictures | None:
    """Return the ratings of some headlines, if all runs were measured by the same ones.

    Args:
        folders: Folders of the runs.
        ids: The headlines.

    Raises:
        ValueError: If a file is damaged.
    """
    try:
        tables = [pq.read_table(f / GIVEN) for f in folders if (f / GIVEN).is_file()]
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"the ratings of a run are damaged, run it again: {error}") from error
    if not tables:
        return None
    if len(tables) < len(folders) or not all(own.equals(tables[0]) for own in tables[1:]):
        log.warning("the runs were not measured by the same ratings: none are shown")
        return None
    known = set(ids)
    names = {"rating": "value"}
    rows = tables[0].rename_columns([names.get(n, n) for n in tables[0].column_names]).to_pylist()
    ratings = [Rating(**row) for row in rows if row["article_id"] in known]
    low = float((tables[0].schema.metadata or {})[b"low"])
    return arrange_ratings(ratings, ids, low) if ratings else None


def compare_rated(
    runs: Sequence[Ranked], rated: RatedPictures, pairs: Sequence[Pair]
) -> tuple[list[pd.DataFrame], list[pd.DataFrame]]:
    """Measure runs by ratings, and test their differences.

    Args:
        runs: The rankings.
        rated: The ratings.
        pairs: Positions of the runs that are tested against each other.

    Returns:
        Of each run, a row per measure: `value`, `low`, `high`. Of each pair, a row per measure:
        `value` (mean difference), `low`, `high`, `p`. The intervals are over articles and people.
    """
    depth = min(len(ranked) for run in runs for ranked in run.values())
    cutoffs = [k for k in CUTOFFS if k <= depth][-1:]
    resamples = draw_resamples(rated, N_RESAMPLES, SEED)
    stages = []
    for run in runs:
        places = {(a, i): rank for a, own in run.items() for rank, i in enumerate(own, start=1)}
        keys = [(rated.query_ids[q], i) for q, i in zip(rated.query, rated.image_ids, strict=True)]
        ranks = pd.Series([places.get(key, 0) for key in keys]).to_numpy()
        scores = {a: {i: float(-n) for n, i in enumerate(own)} for a, own in run.items()}
        stages.append((measure_ratings(rated, scores, ranks, cutoffs), ranks))
    bounds = {
        (first, second): bound_measures(
            rated, {"first": stages[first], "second": stages[second]}, resamples
        )
        for first, second in pairs
    }
    means: dict[int, pd.DataFrame] = {}
    for (first, second), table in bounds.items():
        means |= {first: _take(table, "first")[["value", "low", "high"]]}
        means |= {second: _take(table, "second")[["value", "low", "high"]]}
    return [means[i] for i in range(len(runs))], [_take(own, "delta") for own in bounds.values()]


def _take(table: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Return the rows of a stage, indexed by the measure."""
    own = table[table.index.str.startswith(f"{stage}/")]
    return own.set_axis(own.index.str.removeprefix(f"{stage}/"), axis="index")
