"""Compare a run in the tracking store with its record."""

import math
import sys
from typing import TYPE_CHECKING

from newsimg.tracking.record import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def has_end(run: "Run", record: RunRecord) -> bool:
    """Return whether the store has the final status of a run, which is sent last."""
    return (run.info.status, run.info.end_time) == (record.status, record.end_time)


def has_values(run: "Run", record: RunRecord) -> bool:
    """Return whether the store has a record's params, tags and metrics.

    The values of tags are not compared, as users may edit them, e.g. the description.
    """
    data = run.data
    return (
        set(record.params) <= set(data.params)
        and {*record.tags, *record.late_tags} <= set(data.tags)
        and not has_stale_error(run, record)
        and all(
            key in data.metrics and _is_same(value, data.metrics[key])
            for key, value in record.metrics.items()
        )
    )


def has_stale_error(run: "Run", record: RunRecord) -> bool:
    """Return whether the store has the error of an earlier attempt."""
    return "error" in run.data.tags and "error" not in {*record.tags, *record.late_tags}


def list_artifacts(client: "MlflowClient", run_id: str, folder: str | None = None) -> set[str]:
    """Return the paths of a run's files in the store."""
    found: set[str] = set()
    for item in client.list_artifacts(run_id, folder):
        found |= list_artifacts(client, run_id, item.path) if item.is_dir else {item.path}
    return found


def _is_same(ours: float, theirs: float) -> bool:
    if math.isnan(ours):
        return math.isnan(theirs)
    if math.isinf(ours):  # databases store the largest float instead
        return math.copysign(sys.float_info.max, ours) == theirs or ours == theirs
    return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-300)
