"""A server that refuses models as the Hugging Face hub does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Part of a model's name -> status and the hub's own code for it.
ANSWERS = {
    "gated": (403, "GatedRepo"),
    "no-such": (401, "RepoNotFound"),
    "no-revision": (404, "RevisionNotFound"),
    "no-config": (404, "EntryNotFound"),
    "teapot": (418, ""),
}


@contextmanager
def serve_refusals() -> Iterator[tuple[str, list[str]]]:
    """Yield the server's address, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            status, code = next(ANSWERS[name] for name in ANSWERS if name in self.path)
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
