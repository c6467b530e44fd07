"""Requests to a local server, answered as status, content and headers."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

JSON = {"Content-Type": "application/json"}


def ask(
    url: str, headers: Mapping[str, str] | None = None, data: bytes | None = None
) -> tuple[int, bytes, Any]:
    """Return status, content and headers of an answer."""
    request = urllib.request.Request(url, data, dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def post(url: str, values: Any) -> tuple[int, Any]:
    """Send JSON; return status and JSON."""
    status, content, _ = ask(url, JSON, json.dumps(values).encode())
    return status, json.loads(content or "null")
