"""The local server without a browser: which requests are refused, and what is served."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from json_requests import JSON, ask

from newsimg.app.server import MAX_BODY, PLACES, STATIC, create_app, open_socket, serve


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    router = APIRouter()

    @router.get("/")
    def send() -> dict[str, str]:
        return {"text": "private"}

    @router.post("/add")
    def add(values: list[int]) -> int:
        return sum(values)

    @router.get("/wrong")
    def fail_user() -> None:
        raise ValueError("weight must be in [0, 1], got 2")

    @router.get("/defect")
    def fail() -> None:
        raise RuntimeError("no memory")

    with serve(create_app([router]), None) as url:
        yield url


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1234"}, 200),  # through a tunnel
        ({"Host": "evil.example:7860"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),  # a link to it
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_requests_of_other_sites_are_refused(
    headers: dict[str, str], status: int, address: str
) -> None:
    code, content, _ = ask(f"{address}/", headers)
    assert code == status
    assert (b"private" in content) == (status == 200)
    assert ask(f"{address}/", {"Origin": address})[0] == 200


def test_a_form_of_another_site_changes_nothing(address: str) -> None:
    cross = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask(f"{address}/add", JSON, b"[1, 2]")[:2] == (200, b"3")
    assert ask(f"{address}/add", JSON | cross, b"[1, 2]")[0] == 403


def test_errors_are_sentences(address: str) -> None:
    for path, data, status, message in (
        ("/wrong", None, 400, "weight must be in [0, 1], got 2"),
        ("/defect", None, 500, "this failed: RuntimeError: no memory"),
        ("/nothing", None, 404, "Not Found"),
        ("/add", b'["a"]', 422, "0: Input should be a valid integer"),
        ("/add", b"[", 422, "1: JSON decode error"),
    ):
        code, content, _ = ask(address + path, JSON, data)
        assert code == status
        assert json.loads(content)["message"].startswith(message)


def test_what_is_too_large_is_refused_before_it_is_read(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    for length, status in ((MAX_BODY + 1, 413), (None, 411)):
        told = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"POST /add HTTP/1.1\r\nHost: {host}\r\n{told}\r\n\r\n".encode())
            assert connection.recv(100).startswith(f"HTTP/1.1 {status}".encode())


def test_only_styles_and_scripts_of_two_folders_are_served(address: str) -> None:
    assert ask(f"{address}/pages/card.js")[0] == ask(f"{address}/static/search.css")[0] == 200
    for path in (
        *("/pages/cards.py", "/static/search.html", "/pages/../pages/cards.py"),
        *("/pages/%2e%2e/%2e%2e/run.py", "/pages/..%2f..%2f..%2fpyproject.toml", "/pages/"),
    ):
        assert ask(address + path)[0] == 404, path


def test_scripts_of_other_servers_cannot_run(address: str) -> None:
    for path in ("/", "/nothing", "/pages/card.js"):
        headers = ask(address + path)[2]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Access-Control-Allow-Origin"] is None


def test_the_next_free_port_is_taken_and_a_chosen_one_must_be_free() -> None:
    with open_socket(None) as first, open_socket(None) as second:
        port = first.getsockname()[1]
        assert second.getsockname()[1] > port
        assert first.getsockname()[0] == "127.0.0.1"
        with pytest.raises(OSError, match=rf"task.port must be free, got {port}: Address already"):
            open_socket(port)


def test_pages_name_only_files_that_exist() -> None:

    for page in STATIC.glob("*.html"):
        for place, name in re.findall(r'"/(pages|static)/([\w.]+)"', page.read_text()):
            assert (Path(PLACES[place]) / name).is_file(), name
