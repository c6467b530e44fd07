"""What Ray does not say: that it waits, and that what it waits for has died."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds until a line says what is waited for
LOOK_EVERY = 1.0  # seconds
MOST_FAILURES = 3  # one after the other, until a part is taken for dead
# Wakes the main thread. Nobody else uses it; that of Ctrl-C is ignored in the background.
WAKE = signal.SIGURG
T = TypeVar("T")
END = object()


def find_parts() -> dict[str, str]:
    """Return the addresses of what this process cannot do without, by name."""
    import ray
    from ray.util.client import ray as client

    if client.is_connected():  # by ray://, past which nothing is seen
        return {}
    context = ray.get_runtime_context()
    parts = {"gcs_server (the cluster's head)": context.gcs_address}
    for node in ray.nodes():
        if node["NodeID"] == context.get_node_id():
            address = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
            parts["raylet (this machine's node)"] = address
    return parts


def watch_cluster(group: str, items: Iterator[T], parts: Mapping[str, str]) -> Iterator[T]:
    """Yield what workers bring, and say so if Ray dies meanwhile: by itself it says nothing.

    Args:
        group: Where the cluster's settings come from, for messages.
        items: Waits for the workers; must be used in the main thread.
        parts: See `find_parts`.

    Raises:
        ConnectionError: If a part is dead; says which, and what to do.
    """
    watch = Watch(group, parts)

    def wake(*_: object) -> None:
        if watch.waiting:
            raise KeyboardInterrupt  # Ray's own calls pass on nothing else

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
    """Looks after the parts of a cluster while the main thread waits for it.

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
        """Return what a function of Ray returns, unless a part dies meanwhile.

        Raises:
            ConnectionError: If one does.
        """
        try:
            self.waiting = True
            if not self.death:
                return function()
        except Exception as error:  # which may only be what follows from a death
            if found := self._find_dead():
                raise ConnectionError(self._describe(*found)) from error
            raise
        finally:
            self.waiting = False
        raise ConnectionError(self.death)

    def look(self) -> None:
        """Look at the parts, until the watch has ended."""
        n_failures = 0
        while not self.ended.wait(LOOK_EVERY):
            found = self._find_dead()
            n_failures = n_failures + 1 if found else 0
            if found and n_failures >= MOST_FAILURES:
                self.death = self._describe(*found)
                signal.pthread_kill(threading.main_thread().ident or 0, WAKE)
                return

    def _find_dead(self) -> tuple[str, str] | None:
        """Return the name of a part that does not answer, and why."""
        for name, address in self.parts.items():
            host, _, port = address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            except OSError as error:
                return f"{name} at {address}", str(error)
        return None

    def _describe(self, name: str, reason: str) -> str:
        return (
            f"{self.group}=ray: Ray's {name} does not answer any more ({reason}): it was killed, "
            "perhaps for want of memory, or its machine is gone; start the command again: what is "
            "done is kept"
        )


@contextmanager
def quiet_but_patient(message: str) -> Iterator[None]:
    """Keep quiet what Ray's core writes past Python; after some seconds say what is waited for."""
    kept = os.dup(2)
    done = threading.Event()

    def tell() -> None:
        if not done.wait(PATIENCE):
            with open(os.devnull, "w") as nowhere:
                os.dup2(kept, 2)
                log.warning("%s", message)
                os.dup2(nowhere.fileno(), 2)

    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
        os.dup2(kept, 2)
        os.close(kept)
