"""Chat models behind a server of OpenAI's protocol: vLLM, transformers, llama.cpp, Ollama."""

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlparse

from newsimg.llm.chat_answers import (
    MAX_ANSWER_BYTES,
    FaultyAnswerError,
    RetryableError,
    ServerError,
    UnreadableAnswerError,
    read_choice,
    read_retry_after,
)

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

SETTINGS = ("base_url", "key_variable", "concurrency", "timeout", "retries", "backoff")
LONGEST_BACKOFF = 30.0  # seconds
RETRYABLE_STATUSES = (408, 425, 429)  # and all from 500 on
HOPELESS = 50  # requests without a parsable answer after which the run ends, if none had one
Read = TypeVar("Read")


@dataclass(frozen=True)
class ChatRequests(Generic[Read]):
    """Requests to a server, and the handling of its answers.

    Attributes:
        n_requests: Number of requests.
        write: Function that returns the body of the request at a position.
        describe: Function that describes the request at a position, for messages.
        read: Function that parses the first choice; may raise `UnreadableAnswerError`.
        keep: Function called with a position and the parsed answer, or None after all retries.
        answers_as: Expected name of the model in answers.
    """

    n_requests: int
    write: Callable[[int], Awaitable[dict[str, Any]]]
    describe: Callable[[int], str]
    read: Callable[[dict[str, Any]], Read]
    keep: Callable[[int, Read | None], None]
    answers_as: str


class ChatServer:
    """Sends requests to a server in parallel and retries those with retryable errors.

    Retryable status codes, broken connections and timeouts are retried with exponential backoff,
    unparsable answers without backoff; other errors are not retried. A request without a parsable
    answer after all retries is counted and does not end the run. The package `openai` is not used:
    it limits neither the total time nor the length of an answer.

    Args:
        where: Name of the config group, for messages.
        base_url: URL of the server, usually ending in /v1.
        key_variable: Environment variable with the API key, if the server needs one. The key
            appears in no setting and no message.
        concurrency: Number of parallel requests.
        timeout: Timeout of an answer in seconds.
        retries: Maximum number of retries per request.
        backoff: Seconds before the first retry; `Retry-After` takes precedence.

    Raises:
        ValueError: If an argument is invalid; names it.
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

    def ask_all(self, requests: ChatRequests[Read]) -> None:
        """Send requests to /chat/completions and pass on each answer as it arrives.

        After a permanent failure no further requests are sent; pending ones are awaited and their
        answers kept.

        Raises:
            ServerError: If a request is rejected, fails after all retries or is answered by another
                model, or if no answer can be parsed; names server, status and reason.
            ImportError: If the extra `served` is not installed.
        """
        try:
            import httpx2  # noqa: F401
            import tenacity  # noqa: F401
        except ImportError as error:
            raise ImportError(f"{self.where} needs: pip install newsimg[served]") from error
        # The event loop turns Ctrl-C into a cancellation, so that no write is interrupted.
        asyncio.run(self._ask_all(requests))

    async def _ask_all(self, requests: ChatRequests[Read]) -> None:
        import httpx2

        key = self._read_key()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Limits(max_connections=self.concurrency)
        positions = iter(range(requests.n_requests))
        errors: list[Exception] = []
        faults: list[FaultyAnswerError] = []
        n_read = 0
        stop = asyncio.Event()
        async with httpx2.AsyncClient(headers=headers, limits=limits, timeout=None) as client:
            repeat = self._make_repeater(stop)

            async def work() -> None:
                nonlocal n_read
                for i in positions:
                    if errors:
                        return
                    try:
                        body = await requests.write(i)
                        answer = None
                        try:
                            answer = await repeat(self._ask, client, body, key, requests, i)
                            n_read += 1
                        except FaultyAnswerError as error:
                            faults.append(error)
                            if not n_read and len(faults) >= (1 if error.advice else HOPELESS):
                                raise self._describe_faults(faults) from error
                        requests.keep(i, answer)
                    except Exception as error:
                        errors.append(error)
                        stop.set()

            n_workers = min(self.concurrency, requests.n_requests)
            await asyncio.gather(*(work() for _ in range(n_workers)))
        if errors:
            raise errors[0]
        if faults:
            log.warning("%s", self._describe_faults(faults))

    def _describe_faults(self, faults: list[FaultyAnswerError]) -> ServerError:
        advice = f"; {faults[0].advice}" if faults[0].advice else ""
        return ServerError(
            f"answers that cannot be read, though asked for {self.retries + 1} times: "
            f"{len(faults)}, the first: {faults[0]}{advice}"
        )

    def _read_key(self) -> str:
        key = os.environ.get(self.key_variable, "").strip()
        # The client's error for an invalid header would contain the key.
        if not re.fullmatch(r"[!-~]*", key):
            raise ServerError(f"the key in {self.key_variable} must be printable ASCII, no spaces")
        return key

    def _make_repeater(self, stop: asyncio.Event) -> Any:
        from tenacity import (
            AsyncRetrying,
            RetryCallState,
            retry_if_exception,
            stop_after_attempt,
            wait_exponential,
            wait_random,
        )

        growing = wait_exponential(self.backoff, LONGEST_BACKOFF) + wait_random(0, self.backoff)
        warned: set[str] = set()

        def error_of(state: RetryCallState) -> RetryableError:
            assert state.outcome is not None
            error = state.outcome.exception()
            assert isinstance(error, RetryableError)
            return error

        def wait(state: RetryCallState) -> float:
            error = error_of(state)
            if isinstance(error, FaultyAnswerError):  # the server is not overloaded
                return self.backoff
            return growing(state) if error.retry_after is None else error.retry_after

        def warn(state: RetryCallState) -> None:
            error = error_of(state)
            if error.kind not in warned:  # many requests have the same error at once
                warned.add(error.kind)
                log.warning("%s; asking again, up to %d times", error, self.retries)

        async def sleep(seconds: float) -> None:
            try:
                await asyncio.wait_for(stop.wait(), seconds)
            except TimeoutError:
                return  # the wait has ended, and no other request failed permanently

        return AsyncRetrying(
            retry=retry_if_exception(lambda e: isinstance(e, RetryableError) and not stop.is_set()),
            stop=stop_after_attempt(self.retries + 1),
            wait=wait,
            sleep=sleep,
            before_sleep=warn,
            reraise=True,
        )

    async def _ask(
        self,
        client: "httpx2.AsyncClient",
        body: dict[str, Any],
        key: str,
        requests: ChatRequests[Read],
        i: int,
    ) -> Read:
        import httpx2

        url = f"{self.base_url}/chat/completions"
        try:
            async with (
                asyncio.timeout(self.timeout),
                client.stream("POST", url, json=body) as response,
            ):
                content = await _read_body(response)
        except TimeoutError:
            raise RetryableError(f"{url}: no answer within {self.timeout:g} s", "timeout") from None
        except httpx2.RequestError as error:
            kind = type(error).__name__
            raise RetryableError(f"{url}: {kind}: {error}", kind) from error
        if response.status_code != 200:
            raise self._describe_refusal(url, response, content, key)
        try:
            choice, model = read_choice(content)
            if model != requests.answers_as:
                raise ServerError(
                    f"{url} was asked for {requests.answers_as!r}, but {model!r} answered; where "
                    f"that is the same model, set {self.where.partition('.')[0]}.answers_as"
                )
            return requests.read(choice)
        except UnreadableAnswerError as error:
            asked = f"{url}, model {requests.answers_as!r}, asked about {requests.describe(i)}"
            raise FaultyAnswerError(asked, error) from error

    def _describe_refusal(
        self, url: str, response: "httpx2.Response", content: bytes, key: str
    ) -> ServerError:
        reason = " ".join(content.decode(errors="replace").split())[:500]
        if key:  # some servers echo the request
            reason = reason.replace(key, "***")
        message = f"{url}: {response.status_code} {response.reason_phrase}: {reason}"
        if response.status_code < 500 and response.status_code not in RETRYABLE_STATUSES:
            return ServerError(message)
        wait = read_retry_after(response.headers.get("Retry-After"))
        if wait is not None and wait > self.timeout:
            return ServerError(f"{message} (try again after {wait:.0f} s)")
        return RetryableError(message, str(response.status_code), wait)


def check_server(where: str, settings: Mapping[str, Any]) -> ChatServer:
    """Check a server's config and return it as a `ChatServer`.

    Raises:
        ValueError: If a setting is missing, unknown or invalid.
    """
    if set(settings) != set(SETTINGS):
        raise ValueError(f"{where} must have {', '.join(SETTINGS)}, got {', '.join(settings)}")
    return ChatServer(where, **settings)


async def _read_body(response: "httpx2.Response") -> bytes:
    """Return what a server sends, or as much as shows that it is too much."""
    content = bytearray()
    async for part in response.aiter_bytes():
        content += part
        if len(content) > MAX_ANSWER_BYTES:
            break
    return bytes(content)
