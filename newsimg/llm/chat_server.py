"""Chat models behind a server of OpenAI's protocol: vLLM, transformers, llama.cpp, Ollama."""

import asyncio
import email.utils
import json
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

SETTINGS = ("base_url", "key_variable", "concurrency", "timeout", "retries", "backoff")
LONGEST_BACKOFF = 30.0  # seconds
PASSING = (408, 425, 429)  # statuses that time may heal, as may all from 500


class ServerError(RuntimeError):
    """A server did not answer as it should."""


class PassingError(ServerError):
    """A request that is worth repeating.

    Args:
        message: What happened.
        kind: What is the same for all requests that it happens to.
        retry_after: Seconds to wait, where the server says so.
    """

    def __init__(self, message: str, kind: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


class ChatServer:
    """Asks a server many things at once, and again where a fault may pass.

    Too many requests, server errors, broken connections, answers cut short and answers that take
    too long are asked again, after waits that double; what the server refuses is not.

    Args:
        where: Name of the settings in messages.
        base_url: The address, mostly ending in /v1.
        key_variable: Environment variable that holds the key, if the server wants one. The key
            itself is in no setting and no message.
        concurrency: Requests at a time.
        timeout: Seconds that an answer may take.
        retries: How often a request is repeated.
        backoff: Seconds before the first repetition; a server's `Retry-After` goes before.

    Raises:
        ValueError: If an argument is not what it should be; names it.
    """

    def __init__(
        self,
        where: str,
        *,
        base_url: str,
        key_variable: str,
        concurrency: int,
        timeout: float,
        retries: int,
        backoff: float,
    ) -> None:
        url = urlparse(str(base_url))
        if url.username or url.password or url.query or url.fragment:
            raise ValueError(f"{where}.base_url must hold no user, password or query")
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"{where}.base_url must be an http(s) address, got {base_url!r}")
        if not re.fullmatch(r"[A-Za-z_]\w*", str(key_variable)):
            raise ValueError(f"{where}.key_variable must name an environment variable")
        if not concurrency >= 1:
            raise ValueError(f"{where}.concurrency must be at least 1, got {concurrency}")
        if not timeout > 0:
            raise ValueError(f"{where}.timeout must be above 0, got {timeout}")
        for name, number in (("retries", retries), ("backoff", backoff)):
            if not number >= 0:
                raise ValueError(f"{where}.{name} must be at least 0, got {number}")
        self.where = where
        self.base_url = str(base_url).rstrip("/")
        self.key_variable = key_variable
        self.concurrency = int(concurrency)
        self.timeout = float(timeout)
        self.retries = int(retries)
        self.backoff = float(backoff)

    def ask_all(
        self,
        n_requests: int,
        write: Callable[[int], Awaitable[dict[str, Any]]],
        keep: Callable[[int, dict[str, Any]], None],
        answers_as: str,
    ) -> None:
        """Send requests to /chat/completions, and hand on every answer as it comes.

        When one fails for good, no more are sent, but those under way are still waited for and
        kept: what a server has computed is not asked for again.

        Args:
            n_requests: How many there are.
            write: Returns the body of the request at a position.
            keep: Takes the position of a request and the first choice of its answer.
            answers_as: What the server must say that the answering model is.

        Raises:
            ServerError: If a request is refused, is not answered in spite of all retries, or is
                answered by another model; names server, status and reason.
            ImportError: If the extra `served` is not installed.
        """
        try:
            import httpx2  # noqa: F401
            import tenacity  # noqa: F401
        except ImportError as error:
            raise ImportError(f"{self.where} needs: pip install newsimg[served]") from error
        # The loop turns the first Ctrl-C into a cancellation, which no write is cut in two by.
        asyncio.run(self._ask_all(n_requests, write, keep, answers_as))

    async def _ask_all(
        self,
        n_requests: int,
        write: Callable[[int], Awaitable[dict[str, Any]]],
        keep: Callable[[int, dict[str, Any]], None],
        answers_as: str,
    ) -> None:
        import httpx2

        key = self._read_key()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Limits(max_connections=self.concurrency)
        positions = iter(range(n_requests))
        errors: list[Exception] = []
        stop = asyncio.Event()
        async with httpx2.AsyncClient(headers=headers, limits=limits, timeout=None) as client:
            repeat = self._make_repeater(stop)

            async def work() -> None:
                for i in positions:
                    if errors:
                        return
                    try:
                        body = await write(i)
                        keep(i, await repeat(self._ask, client, body, key, answers_as))
                    except Exception as error:
                        errors.append(error)
                        stop.set()

            await asyncio.gather(*(work() for _ in range(min(self.concurrency, n_requests))))
        if errors:
            raise errors[0]

    def _read_key(self) -> str:
        key = os.environ.get(self.key_variable, "").strip()
        # A client would name what it cannot send, and so the key, in its error.
        if not re.fullmatch(r"[!-~]*", key):
            raise ServerError(f"the key in {self.key_variable} must be printable ASCII, no spaces")
        return key

    def _make_repeater(self, stop: asyncio.Event) -> Any:
        from tenacity import (
            AsyncRetrying,
            RetryCallState,
            retry_if_exception,
            stop_after_attempt,
            wait_exponential_jitter,
        )

        growing = wait_exponential_jitter(self.backoff, LONGEST_BACKOFF, jitter=self.backoff)
        warned: set[str] = set()

        def error_of(state: RetryCallState) -> PassingError:
            assert state.outcome is not None
            error = state.outcome.exception()
            assert isinstance(error, PassingError)
            return error

        def wait(state: RetryCallState) -> float:
            asked = error_of(state).retry_after
            return growing(state) if asked is None else asked

        def warn(state: RetryCallState) -> None:
            error = error_of(state)
            if error.kind not in warned:  # many requests meet the same fault at once
                warned.add(error.kind)
                log.warning("%s; asking again, up to %d times", error, self.retries)

        async def sleep(seconds: float) -> None:
            try:
                await asyncio.wait_for(stop.wait(), seconds)
            except TimeoutError:
                return  # the wait is over, and no other request has failed for good

        return AsyncRetrying(
            retry=retry_if_exception(lambda e: isinstance(e, PassingError) and not stop.is_set()),
            stop=stop_after_attempt(self.retries + 1),
            wait=wait,
            sleep=sleep,
            before_sleep=warn,
            reraise=True,
        )

    async def _ask(
        self, client: "httpx2.AsyncClient", body: dict[str, Any], key: str, answers_as: str
    ) -> dict[str, Any]:
        import httpx2

        url = f"{self.base_url}/chat/completions"
        try:
            async with asyncio.timeout(self.timeout):
                response = await client.post(url, json=body)
        except TimeoutError:
            raise PassingError(f"{url}: no answer within {self.timeout:g} s", "timeout") from None
        except httpx2.RequestError as error:
            kind = type(error).__name__
            raise PassingError(f"{url}: {kind}: {error}", kind) from error
        if response.status_code != 200:
            raise self._describe_refusal(url, response, key)
        choice, model = read_choice(url, response.content)
        if model != answers_as:
            raise ServerError(
                f"{url} was asked for {answers_as!r}, but {model!r} answered; where that is the "
                f"same model, set {self.where.partition('.')[0]}.answers_as"
            )
        return choice

    def _describe_refusal(self, url: str, response: "httpx2.Response", key: str) -> ServerError:
        reason = " ".join(response.text.split())[:500]
        if key:  # some servers repeat what they were sent
            reason = reason.replace(key, "***")
        message = f"{url}: {response.status_code} {response.reason_phrase}: {reason}"
        if response.status_code < 500 and response.status_code not in PASSING:
            return ServerError(message)
        wait = read_retry_after(response.headers.get("Retry-After"))
        if wait is not None and wait > self.timeout:
            return ServerError(f"{message} (try again after {wait:.0f} s)")
        return PassingError(message, str(response.status_code), wait)


def check_server(where: str, settings: Mapping[str, Any]) -> ChatServer:
    """Return a server of a config.

    Raises:
        ValueError: If a setting is missing, unknown or not what it should be.
    """
    if set(settings) != set(SETTINGS):
        raise ValueError(f"{where} must have {', '.join(SETTINGS)}, got {', '.join(settings)}")
    return ChatServer(where, **settings)


def read_choice(url: str, content: bytes) -> tuple[dict[str, Any], str | None]:
    """Return the first choice of a chat completion, and the model that it says it is of.

    Raises:
        PassingError: If it is none, or was cut short.
    """
    try:
        answer = json.loads(content)
        choice = answer["choices"][0]
        choice["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        message = f"{url}: an answer that is no chat completion ({error!r})"
        raise PassingError(message, "no chat completion") from error
    return choice, answer.get("model")


def read_retry_after(value: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header, which may be a date."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:  # not a date either: as if it were not there
        return None
