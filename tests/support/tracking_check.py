"""Compare the records of runs on disk with the tracking store."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from mlflow import MlflowClient


def check_tracking(folder: Path, uri: str | None = None) -> list[dict[str, Any]]:
    """Assert that the tracking store has every run recorded in a folder completely and once.

    Returns:
        The records, sweeps first, by name.
    """
    folder = folder.resolve()
    paths = sorted(folder.rglob(".tracking/*.json"))
    records = {path: json.loads(path.read_text()) for path in paths}
    client = MlflowClient(uri or f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    runs = {run.data.tags["newsimg.record"]: run for run in found}
    assert len(runs) == len(found), Counter(run.info.run_name for run in found)
    copies = {path for path, record in records.items() if record["resumed"]}
    ids = {path: record["record_id"] for path, record in records.items() if path not in copies}
    assert set(ids.values()) == set(runs) - {records[path]["record_id"] for path in copies}
    for path, record_id in ids.items():
        run, record = runs[record_id], records[path]
        there = (run.info.status, run.info.start_time, run.info.end_time)
        assert there == tuple(record[key] for key in ("status", "start_time", "end_time")), path
        assert record["status"] in ("FINISHED", "FAILED", "KILLED")
        assert run.data.metrics == record["metrics"], path
        assert run.data.params == record["params"], path
        assert {*record["tags"], *record["late_tags"]} <= set(run.data.tags), path
        assert run.data.tags.get("error") == record["late_tags"].get("error"), path
        assert _list_files(client, run.info.run_id) == sorted(record["artifacts"]), path
        parent = None
        if record["parent"]:
            parent = runs[ids[(path.parent.parent / record["parent"]).resolve()]].info.run_id
        assert run.data.tags.get("mlflow.parentRunId") == parent, path
    return sorted(records.values(), key=lambda r: (r["parent"] is not None, r["name"]))


def _list_files(client: MlflowClient, run_id: str, folder: str | None = None) -> list[str]:
    found = []
    for item in client.list_artifacts(run_id, folder):
        found += _list_files(client, run_id, item.path) if item.is_dir else [item.path]
    return sorted(found)


if __name__ == "__main__":
    check_tracking(Path(sys.argv[1]))
