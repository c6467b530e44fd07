"""Messages about a Ray cluster that is dead, does not respond or has no disk space."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from newsimg.engine.ray_cluster import RayCluster
from newsimg.engine.ray_watch import watch_cluster

pytest.importorskip("ray", reason="needs the extra newsimg[ray]")

# Run in a subprocess: starts a cluster, waits for a task that never ends, prints the error.
pytestmark = pytest.mark.slow
WAITING = """
import time
from newsimg.engine.ray_cluster import RayCluster
from newsimg.engine.ray_watch import find_services, watch_cluster

ray, _ = RayCluster("engine", None, 1, 1, 0, 80).connect()
print(find_services()["gcs_server (the cluster's head)"], flush=True)
never = ray.remote(lambda: time.sleep(600)).remote()
try:
    list(watch_cluster("engine", map(ray.get, [never]), find_services()))
except ConnectionError as error:
    print(error, flush=True)
"""

JOINING = """
import sys
from newsimg.engine.ray_cluster import RayCluster
RayCluster("engine", sys.argv[1], 1, 1, 0, 80).connect()
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-c", script, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=environment, **pipes)  # type: ignore[call-overload, no-any-return]


def test_a_killed_cluster_head_is_reported_within_seconds() -> None:
    waiting = start(WAITING)
    try:
        assert waiting.stdout is not None
        address = waiting.stdout.readline().strip()
        assert address, waiting.communicate()[1]
        children = Path(f"/proc/{waiting.pid}/task/{waiting.pid}/children").read_text().split()
        names = {Path(f"/proc/{child}/comm").read_text().strip(): child for child in children}
        time.sleep(2)
        killed = time.monotonic()
        os.kill(int(names["gcs_server"]), 9)
        printed = waiting.stdout.readline()
        assert time.monotonic() - killed < 30  # Ray itself takes a minute and gives no reason
    finally:
        waiting.kill()
        waiting.communicate()
    head = f"Ray's gcs_server (the cluster's head) at {address} does not respond"
    assert f"engine=ray: {head}" in printed
    assert "run the command again" in printed


def test_a_service_that_dies_between_waits_is_reported_at_the_next_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("newsimg.engine.ray_watch.CHECK_INTERVAL", 0.05)
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as server:
        parts = {"raylet": f"127.0.0.1:{server.getsockname()[1]}"}
        items = watch_cluster("engine", iter([1, 2, 3]), parts)
        assert next(items) == 1
        (looking,) = set(threading.enumerate()) - before
        for _ in range(5):  # checks that find it alive
            server.accept()[0].close()
        assert next(items) == 2
    looking.join(60)
    assert not looking.is_alive()
    with pytest.raises(ConnectionError, match=r"Ray's raylet at .* does not respond"):
        next(items)


def test_an_error_of_a_worker_is_not_reported_as_a_dead_service() -> None:
    def fail() -> None:
        raise OSError("no space")

    with socket.create_server(("127.0.0.1", 0)) as server:
        parts = {"raylet": f"127.0.0.1:{server.getsockname()[1]}"}
        with pytest.raises(OSError, match="no space"):
            list(watch_cluster("engine", (fail() for _ in range(1)), parts))


def test_waiting_for_a_cluster_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts connections and never answers
        address = f"127.0.0.1:{server.getsockname()[1]}"
        joining = start(JOINING, address)
        try:
            assert joining.stderr is not None
            printed = joining.stderr.readline()
        finally:
            joining.kill()
            joining.communicate()
    assert f"waiting for the Ray cluster at engine.address={address}" in printed


def test_a_full_disk_is_reported_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("newsimg.engine.ray_cluster.FREE_MB", 1 << 40)
    with pytest.raises(OSError, match=r"needs .* MB for Ray's .*set RAY_TMPDIR") as error:
        RayCluster("engine", None, 1, 1, 0, 80).connect()
    assert error.value.filename == str(tmp_path)
    assert not list(tmp_path.iterdir())
