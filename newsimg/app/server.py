"""The local server of the pages: static files, and protection against other sites."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from newsimg.reporting.pages.assemble import PAGES, include_parts

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # a site with a name of its own for this address has another
FIRST_PORT, N_PORTS = 7860, 100
MAX_BODY = 20_000_000  # bytes
STATIC = Path(__file__).parent / "static"
PLACES = {"pages": PAGES, "static": STATIC}  # first part of the URL -> folder
SUFFIXES = (".js", ".css")
HEADERS = {
    # Attributes of style, as the parts of the pages set them, are no scripts.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def create_app(routers: Iterable[APIRouter]) -> FastAPI:
    """Return an app with the routes of some pages, and the CSS and JavaScript of all pages.

    /pages/NAME is a file of newsimg/reporting/pages, /static/NAME one of newsimg/app/static. Errors
    are answered by JSON with the key `message`.

    Args:
        routers: The routes of each page.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard)
    app.add_exception_handler(StarletteHTTPException, tell_error)
    app.add_exception_handler(RequestValidationError, tell_wrong_request)
    for router in routers:
        app.include_router(router)
    for place, folder in PLACES.items():
        app.mount(f"/{place}", Parts(directory=folder))
    return app


class Guard:
    """Middleware: refuses requests of other sites, sets headers, and answers errors in words."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            raise RuntimeError(f"the pages are served by http only, got {scope['type']}")
        has_begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        fault = find_fault(Request(scope))
        if fault is not None:
            answer: ASGIApp = JSONResponse({"message": fault[1]}, fault[0])
            await answer(scope, receive, send_guarded)
            return
        try:
            await self.app(scope, receive, send_guarded)
        except Exception as error:
            if has_begun:
                log.error("%s was not answered in full: %s", scope["path"], error)
                return
            answer = JSONResponse(
                {"message": explain_error(error)}, 400 if is_users(error) else 500
            )
            await answer(scope, receive, send_guarded)


def find_fault(request: Request) -> tuple[int, str] | None:
    """Return status and message for a request that is refused, None for others.

    A name that leads to 127.0.0.1 (DNS rebinding) is not that of the server; a request that another
    site makes (CSRF) has another origin, or says that it is cross-site.
    """
    host = request.headers.get("host", "")
    if urlsplit(f"//{host}").hostname not in NAMES:
        return 403, f"this server is for {HOST} only, got a request for {host!r}"
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return 403, f"requests of other pages are refused, got one of {origin!r}"
    is_opened = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_opened:
        return 403, "requests of other pages are refused"
    if request.method in ("POST", "PUT"):
        length = request.headers.get("content-length", "")
        if not length.isdigit():
            return 411, "a request must have the header Content-Length"
        if int(length) > MAX_BODY:
            return 413, f"at most {MAX_BODY / 1e6:.0f} MB can be sent, got {int(length) / 1e6:.1f}"
    return None


def is_users(error: Exception) -> bool:
    """Return whether an error is about what was asked for or about files, and no defect."""
    return isinstance(error, ValueError | OSError | ImportError)


def explain_error(error: Exception) -> str:
    """Return the message of an error; errors that are no user's are logged."""
    if is_users(error):
        return str(error)
    text = f"{type(error).__name__}: {error}"
    log.error("%s", text)
    log.debug("%s", text, exc_info=error)
    return f"this failed: {text}"


async def tell_error(request: Request, error: Any) -> JSONResponse:
    """Answer an error of HTTP."""
    return JSONResponse({"message": str(error.detail)}, error.status_code)


async def tell_wrong_request(request: Request, error: Any) -> JSONResponse:
    """Answer a request with values of the wrong type."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return JSONResponse({"message": f"{place or 'the request'}: {first['msg']}"}, 422)


class Parts(StaticFiles):
    """CSS and JavaScript files of a folder; browsers ask each time whether they changed."""

    def lookup_path(self, path: str) -> tuple[str, Any]:
        """See `StaticFiles.lookup_path`; other files are not served."""
        if not path.endswith(SUFFIXES):
            return "", None
        return super().lookup_path(path)

    def file_response(self, *arguments: Any, **named: Any) -> Any:
        """See `StaticFiles.file_response`."""
        response = super().file_response(*arguments, **named)
        response.headers["Cache-Control"] = "no-cache"
        return response


def read_page(name: str) -> str:
    """Return an HTML file of newsimg/app/static; see `include_parts`."""
    return include_parts((STATIC / name).read_text(encoding="utf-8"))


def not_found(message: str) -> HTTPException:
    """Return the error 404 with a message."""
    return HTTPException(404, message)


@contextmanager
def serve(app: FastAPI, port: int | None) -> Iterator[str]:
    """Serve an app on 127.0.0.1 in a thread inside the block; yields its address.

    Args:
        app: The app.
        port: Port; None for the first free one from 7860.

    Raises:
        OSError: If the port is taken.
    """
    with open_socket(port) as listening:
        config = uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        run: Callable[..., None] = server.run
        thread = threading.Thread(target=run, args=([listening],), daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=5)


def open_socket(port: int | None) -> socket.socket:
    """Return a socket that listens on a port, or on the first free one from 7860.

    Raises:
        OSError: If there is none.
    """
    for number in range(FIRST_PORT, FIRST_PORT + N_PORTS) if port is None else [port]:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, number))
            listening.listen()
        except OSError as error:
            listening.close()
            fault = error
        else:
            return listening
    if port is None:
        raise OSError(f"no port from {FIRST_PORT} to {number} is free: type task.port=PORT")
    raise OSError(
        f"task.port must be free, got {port}: {fault.strerror}. Another newsimg-search may use it; "
        "without task.port the first free one is taken"
    ) from fault
