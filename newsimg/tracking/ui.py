"""MLflow's UI: links to runs, shared views of sweeps, and a local server."""

import base64
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from newsimg.reporting.quoting import quote_override
from newsimg.tracking.params import name_params
from newsimg.tracking.record import read_record, read_records
from newsimg.tracking.uri import hide_password, is_server, sqlite_uri, strip_login

if TYPE_CHECKING:
    from mlflow import MlflowClient

HOST = "127.0.0.1"
PORT = 5000  # MLflow's default
START_TIMEOUT = 180.0  # seconds; MLflow's imports are slow on a slow disk
STOP_TIMEOUT = 10.0
VIEW_TAG = "mlflow.sharedViewState."  # tag of an experiment with a shared view
MAX_VIEWS = 20  # per experiment, as its tags are read with every page
SWEEP_TAG, OBJECTIVE_TAG, SWEPT_TAG = "sweep", "objective", "swept"  # of a sweep's run
# In pixels. The column with the time cannot be removed.
WIDTHS = {"attributes.`Run Name`": 220, "runDateAndNestInfo": 60, "params.`reranker`": 95}


def describe_page(path: Path | None, uri: str, folder: Path) -> dict[str, str]:
    """Return the URL of a run and, without a tracking server, the command that serves it.

    Args:
        path: Record of the run; None for the list of experiments.
        uri: URI of the tracking store.
        folder: Folder of the runs.

    Returns:
        Label -> text.
    """
    page = {"in MLflow": link_record(path, uri, f"http://{HOST}:{PORT}")}
    if is_server(uri):
        return page
    command = ["newsimg-ui", quote_override("folder", str(folder))]
    if uri != sqlite_uri(folder / "mlflow.db") and hide_password(uri) == uri:
        command.append(quote_override("tracking.uri", uri))
    return page | {"served by": shlex.join(command)}


def link_record(path: Path | None, uri: str, address: str) -> str:
    """Return the URL of a run, or of the list of experiments if the store does not have the run.

    The URL of a sweep shows the table of its jobs.

    Args:
        path: The record.
        uri: URI of the tracking store.
        address: Address of the server for a database, such as http://127.0.0.1:5000.
    """
    experiments = f"{strip_login(uri).rstrip('/') if is_server(uri) else address}/#/experiments"
    record = read_record(path) if path else None
    if record is None or record.run_id is None or record.experiment_id is None:
        return experiments
    # Without it, MLflow 3 shows its GenAI pages in a new browser.
    kind = "workflowType=machine_learning"
    runs = f"{experiments}/{record.experiment_id}/runs"
    if SWEEP_TAG in record.tags:
        return f"{runs}?{kind}&viewStateShareKey={_name_view(record.run_id)}"
    return f"{runs}/{record.run_id}?{kind}"


def find_latest(folder: Path) -> Path | None:
    """Return the record of the latest run or sweep in a folder."""
    runs = [(run.start_time, path) for path, run in read_records(folder) if run.parent is None]
    return max(runs)[1] if runs else None


def share_view(
    client: "MlflowClient", experiment_id: str, run_id: str, tags: Mapping[str, str]
) -> None:
    """Store the shared view of a sweep, and delete the oldest views of other sweeps.

    MLflow stores a shared view in a tag of the experiment, in the format of its own UI.

    Args:
        client: Client of the tracking store.
        experiment_id: Experiment of the sweep.
        run_id: Parent run of the sweep.
        tags: Tags of the parent run.
    """
    state = json.dumps(describe_view(run_id, tags)).encode()
    packed = base64.b64encode(zlib.compress(state)).decode()
    now = int(time.time() * 1000)
    view = {"name": "sweep", "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    key = f"{VIEW_TAG}{_name_view(run_id)}"
    own = f"{VIEW_TAG}{_name_view('')}"
    there = client.get_experiment(experiment_id).tags
    views = sorted(
        (name for name in there if name.startswith(own) and name != key),
        key=lambda name: _find_time(there[name]),
    )
    for name in views[: max(0, len(views) + 1 - MAX_VIEWS)]:
        client.delete_experiment_tag(experiment_id, name)
    client.set_experiment_tag(experiment_id, key, json.dumps(view))


def delete_view(client: "MlflowClient", experiment_id: str, run_id: str) -> None:
    """Delete the shared view of a sweep."""
    client.delete_experiment_tag(experiment_id, f"{VIEW_TAG}{_name_view(run_id)}")


def describe_view(run_id: str, tags: Mapping[str, str]) -> dict[str, object]:
    """Return the state of MLflow's table for a sweep: filter, order and columns."""
    objective = tags.get(OBJECTIVE_TAG, "")
    measure = objective.removeprefix("reranked/")
    metrics = [objective] if objective else []
    if measure != objective:
        metrics += ["reranked/hits_at_1", "reranked/mrr_at_10"]
        metrics += [f"delta/{measure}", f"delta/{measure}_p"]
    swept = tags[SWEPT_TAG].split(" ") if tags.get(SWEPT_TAG) else []
    ranking = ["reranker", "normalization", "weight"]
    columns = [f"params.`{name}`" for name in ranking]
    columns += [f"metrics.`{name}`" for name in dict.fromkeys(metrics)]
    columns += [f"params.`{name}`" for name in name_params(swept) if name not in ranking]
    return {
        "searchFilter": f"tags.mlflow.parentRunId = '{run_id}'",
        "orderByKey": f"metrics.`{objective}`" if objective else "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        "columnOrder": [*dict.fromkeys([*WIDTHS, *columns, "duration"])],
        "columnWidths": {name: 20 + 7 * len(name.split("`")[1]) for name in columns} | WIDTHS,
    }


@contextmanager
def serve(uri: str, folder: Path, port: int) -> Iterator[str]:
    """Run MLflow's UI on 127.0.0.1 inside the block; yields its address.

    Args:
        uri: URI of the database.
        folder: Working directory of the server.
        port: Port.

    Raises:
        ValueError: If the port is in use.
        RuntimeError: If the server does not start; has its last output.
    """
    check_port(port)
    address = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", str(port)]
    settings = {
        "MLFLOW_BACKEND_STORE_URI": uri,  # not an argument, as it may contain a password
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # would start eight more processes
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--workers", "1"],
            cwd=folder,
            env=os.environ | settings,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C goes to this process only, which stops the server
        )
        try:
            deadline = time.monotonic() + START_TIMEOUT
            while not _answers(address):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    said = log.read().decode(errors="replace").strip()[-1000:]
                    raise RuntimeError(f"MLflow's UI does not start on port {port}: {said}")
                time.sleep(0.2)
            yield address
        finally:
            _end(process)


def check_port(port: int) -> None:
    """Check that a port is free.

    Raises:
        ValueError: If it is.
    """
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise ValueError(
                f"task.port must be free, got {port}, which is in use, perhaps by an MLflow UI "
                f"that runs already: open http://{HOST}:{port}, or choose another port, as in "
                f"newsimg-ui task.port={port + 1}"
            ) from error


def _name_view(run_id: str) -> str:
    return f"sweep-{run_id[:12]}"


def _find_time(view: str) -> int:
    """Return the time at which a view was stored; 0 if it cannot be parsed."""
    try:
        return int(json.loads(view)["createdAt"])
    except (ValueError, TypeError, KeyError):
        return 0


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Stop a server and its workers."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_TIMEOUT)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        return
