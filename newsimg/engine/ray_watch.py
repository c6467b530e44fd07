"""Detection of dead Ray services, and messages while waiting; Ray reports neither."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

log = logging.getLogger(__name__)

# Seconds of waiting until a warning; Ray's own, after 5, would get in while stderr is open for it.
WARN_AFTER = 3.0
CHECK_INTERVAL = 1.0  # seconds
MAX_FAILURES = 3  # consecutive failed checks after which a service counts as dead
# Interrupts the main thread. SIGURG is unused otherwise; SIGINT is ignored in background jobs.
WAKE = signal.SIGURG
T = TypeVar("T")
END = object()


def find_services() -> dict[str, str]:
    """Return name and address of the Ray services that this process depends on."""
    import ray
    from ray.util.client import ray as client

    if client.is_connected():  # through ray://, which hides the services
        return {}
    context = ray.get_runtime_context()
    parts = {"gcs_server (the cluster's head)": context.gcs_address}
    for node in ray.nodes():
        if node["NodeID"] == context.get_node_id():
            address = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
            parts["raylet (this machine's node)"] = address
    return parts


def watch_cluster(
    group: str, items: Iterator[T], parts: Mapping[str, str]
) -> Generator[T, None, None]:
    """Yield results of workers, and raise an error if a Ray service dies; Ray itself would hang.

    Args:
        group: Config group of the cluster's settings, for messages.
        items: Iterator that waits for the workers; consumed in the main thread.
        parts: Name -> address of services, see `find_services`.

    Raises:
        ConnectionError: If a service is dead; names it and says what to do.
    """
    watch = Watch(group, parts)

    def wake(*_: object) -> None:
        if watch.waiting:
            raise KeyboardInterrupt  # the only exception that Ray's calls propagate

    before = signal.signal(WAKE, wake)
    threading.Thread(target=watch.look, daemon=True).start()
    try:
        while (item := watch.wait_for(lambda: next(items, END))) is not END:
            yield item  # type: ignore[misc]
    except KeyboardInterrupt:
        if not watch.death:
            raise
        raise ConnectionError(watch.death) from None
    finally:
        watch.ended.set()
        signal.signal(WAKE, before)


class Watch:
    """A monitor of Ray services while the main thread waits for results.

    Args:
        group: See `watch_cluster`.
        parts: See `watch_cluster`.
    """

    def __init__(self, group: str, parts: Mapping[str, str]) -> None:
        self.group = group
        self.parts = parts
        self.ended = threading.Event()
        self.waiting = False
        self.death = ""

    def wait_for(self, function: Callable[[], T]) -> T:
        """Call a blocking function of Ray and return its result.

        Raises:
            ConnectionError: If a service dies during the call.
        """
        try:
            self.waiting = True
            if not self.death:
                return function()
        except Exception as error:  # may be the consequence of a dead service
            if found := self._find_dead():
                raise ConnectionError(self._describe(*found)) from error
            raise
        finally:
            self.waiting = False
        raise ConnectionError(self.death)

    def look(self) -> None:
        """Check the services until the watch has ended; runs in a thread."""
        n_failures = 0
        while not self.ended.wait(CHECK_INTERVAL):
            found = self._find_dead()
            n_failures = n_failures + 1 if found else 0
            if found and n_failures >= MAX_FAILURES:
                self.death = self._describe(*found)
                signal.pthread_kill(threading.main_thread().ident or 0, WAKE)
                return

    def _find_dead(self) -> tuple[str, str] | None:
        """Return the name of a service that does not respond, and the reason."""
        for name, address in self.parts.items():
            host, _, port = address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            except OSError as error:
                return f"{name} at {address}", str(error)
        return None

    def _describe(self, name: str, reason: str) -> str:
        return (
            f"{self.group}=ray: Ray's {name} does not respond ({reason}): it was killed, possibly "
            "out of memory, or its machine is down; run the command again to continue"
        )


@contextmanager
def silence_stderr(message: str) -> Iterator[None]:
    """Discard what Ray's core writes to stderr; log `message` after `WARN_AFTER` seconds."""
    saved = os.dup(2)
    done = threading.Event()

    def warn() -> None:
        if not done.wait(WARN_AFTER):
            with open(os.devnull, "w") as devnull:
                os.dup2(saved, 2)
                log.warning("%s", message)
                os.dup2(devnull.fileno(), 2)

    with open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), 2)
    thread = threading.Thread(target=warn, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        os.dup2(saved, 2)
        os.close(saved)
