"""A client of endpoints that speak OpenAI's chat protocol: many requests at once, with retries and time limits.

References:
  https://platform.openai.com/docs/api-reference/chat: the protocol, which most servers of language models speak.
  RFC 9110, section 10.2.3: Retry-After.
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import json
import math
import random
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json
from sml_jax.common.secret import Secret

if TYPE_CHECKING:
    import httpx

MAX_ANSWER_BYTES = 8 * 2**20  # a longer answer is no chat completion
_MAX_QUOTED_CHARS = 200
_CLOSE_SECONDS = 5.0
# What may be different in a moment: a time-out, too early, too many requests. So may every 5xx.
_RETRIED_STATUSES = (408, 409, 425, 429)


@dataclass(frozen=True)
class ChatLimits:
    """How many requests there are at once, and how long each is tried.

    Attributes:
      concurrency: the largest number of requests at once. One that pauses before it is repeated keeps its place.
      attempt_seconds: how long one attempt may take.
      reply_seconds: how long all attempts of a request and the pauses between them may take.
      retries: how often a request is repeated.
      first_pause, longest_pause: seconds before the first repetition, twice as long before each further one, up to the
        longest. A random part of up to a half is taken off, so that requests that failed together come back apart.
    """

    concurrency: int
    attempt_seconds: float
    reply_seconds: float
    retries: int
    first_pause: float
    longest_pause: float


@dataclass(frozen=True)
class ChatReply:
    """A model's message.

    Attributes:
      text: its text; "" if it has none.
      truncated: whether it was cut at its limit of tokens.
    """

    text: str
    truncated: bool


@dataclass(frozen=True)
class ChatFailure:
    """Why a request has no reply, after all its attempts.

    Attributes:
      error: in one line, without the key.
    """

    error: str


@dataclass(frozen=True)
class _Retry:
    """An attempt that failed in a way that another one may not.

    Attributes:
      error: what went wrong. pause: seconds that the endpoint asks to wait, None if it does not say.
    """

    error: str
    pause: float | None = None


class ChatClient:
    """Sends chat requests from a thread of its own, in which an event loop holds all of them at once. `close` it.

    Args:
      url: of the endpoint, see `completions_url`.
      key: sent as a bearer token; None for none. It is taken out of every text that the endpoint sends.
      limits: of requests.
    """

    def __init__(self, url: str, key: Secret | None, limits: ChatLimits):
        package = require_httpx()
        self._url, self._key, self._limits = completions_url(url), key, limits
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key.reveal()}"
        # Each request under way has a client of one connection to itself, which the next request takes over: a client
        # of many connections looks at all of them for each request, 12 ms of computing where these take 2.
        # Time limits are for whole attempts, which httpx's own are not: an endpoint may send a byte now and then.
        self._new_client: Callable[[], httpx.AsyncClient] = partial(
            package.AsyncClient,
            headers=headers,
            timeout=None,
            verify=package.create_ssl_context(),
            limits=package.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=30),
        )
        self._free_clients: list[httpx.AsyncClient] = []
        self._transport_errors = (package.TransportError, package.DecodingError)
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chat-client", daemon=True)
        self._thread.start()

    def submit(self, body: Mapping[str, Any]) -> Future[ChatReply | ChatFailure]:
        """Sends a request, without waiting for its reply.

        Args:
          body: the request as JSON: `model`, `messages` and what else the endpoint takes.

        Returns:
          A future of the reply. It raises a UserError where the endpoint refuses every request (wrong key, no such
          model or page); any other exception is a fault of the program.
        """
        return asyncio.run_coroutine_threadsafe(self._answer(body), self._loop)

    def close(self) -> None:
        """Cancels the requests under way, and ends the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        # The wait is short: cancelled requests answer at once. The thread ends with the program in any case.
        self._thread.join(_CLOSE_SECONDS)

    async def _end(self) -> None:
        """Cancels all requests, closes the connections and stops the loop. It runs in the client's thread."""
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for client in self._free_clients:
            await client.aclose()
        self._loop.stop()

    async def _answer(self, body: Mapping[str, Any]) -> ChatReply | ChatFailure:
        """The reply to a request, after as many attempts as it takes and as its limits allow."""
        limits, last_error = self._limits, ""
        async with self._slots, self._client() as client:
            try:
                # The clock begins when the request is first sent: waiting for a place costs nothing of its time.
                async with asyncio.timeout(limits.reply_seconds) as deadline:
                    for attempt in range(limits.retries + 1):
                        outcome = await self._attempt(client, body)
                        if not isinstance(outcome, _Retry):
                            return outcome
                        last_error = outcome.error
                        if attempt == limits.retries:
                            break
                        # A pause that would end too late is not begun.
                        pause = _pause(limits, attempt, outcome.pause)
                        if self._loop.time() + pause > (deadline.when() or math.inf):
                            raise TimeoutError
                        await asyncio.sleep(pause)
            except TimeoutError:
                reason = f"; the last attempt: {last_error}" if last_error else ""
                return ChatFailure(f"no reply within {limits.reply_seconds:g} s{reason}")
        return ChatFailure(f"{last_error} (the last of {limits.retries + 1} attempts)")

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client for the requests of its body alone. There are never more than there were requests at once."""
        client = self._free_clients.pop() if self._free_clients else self._new_client()
        try:
            yield client
        finally:
            self._free_clients.append(client)

    async def _attempt(self, client: httpx.AsyncClient, body: Mapping[str, Any]) -> ChatReply | ChatFailure | _Retry:
        """Sends the request once."""
        try:
            async with (
                asyncio.timeout(self._limits.attempt_seconds),
                client.stream("POST", self._url, content=json.dumps(body)) as response,
            ):
                content = await _read(response)
        except TimeoutError:
            return _Retry(f"no answer within {self._limits.attempt_seconds:g} s")
        except self._transport_errors as error:
            return _Retry(self._shown(f"{type(error).__name__}: {error}"))
        if response.status_code == 200:
            return self._completion(content)
        return self._refusal(response.status_code, response.headers.get("retry-after"), content)

    def _completion(self, content: bytes) -> ChatReply | _Retry:
        """Reads the answer to a request that went well."""
        # Whatever is no chat completion may come from a proxy in between, and is asked for again.
        try:
            choice = parse_json(content.decode("utf-8"))["choices"][0]
            text = choice["message"].get("content")
            if text is not None and not isinstance(text, str):
                raise TypeError("a message that is no text")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return _Retry(f"an answer of {len(content)} bytes that is no chat completion")
        # Half of a surrogate pair is no character, and no file takes it.
        text = (text or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return ChatReply(
            self._key.hide(text) if self._key is not None else text, choice.get("finish_reason") == "length"
        )

    def _refusal(self, status: int, retry_after: str | None, content: bytes) -> ChatFailure | _Retry:
        """What an answer with an error's status means.

        Raises:
          UserError: no request can go well.
        """
        said = self._shown(f"HTTP {status}{_message(content)}")
        if status in _RETRIED_STATUSES or status >= 500:
            return _Retry(said, _seconds(retry_after))
        if status == 401:
            raise UserError(f"the endpoint refuses the key ({said}): put a key that it takes into the variable")
        if status == 404 or 300 <= status < 400:
            raise UserError(f"nothing answers at {self._url} ({said}): check the url and the model's name")
        return ChatFailure(said)

    def _shown(self, text: str) -> str:
        """A text that may quote the endpoint as one short line without the key."""
        text = text if self._key is None else self._key.hide(text)
        line = " ".join(text.split())[:_MAX_QUOTED_CHARS]
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def require_httpx() -> Any:
    """The module httpx, which only some installations have.

    Raises:
      UserError: it is not installed.
    """
    try:
        import httpx
    except ImportError as error:
        raise UserError(
            "a remote teacher needs the package httpx: install it with pip install 'sml-jax[remote]'"
        ) from error
    return httpx


def completions_url(url: str) -> str:
    """Where an endpoint takes chat requests.

    Args:
      url: of the endpoint, such as "https://api.openai.com/v1" or "http://localhost:8000/v1", with or without
        "/chat/completions" at its end; a query is kept.

    Raises:
      UserError: it is no address, or has a name and a password in it.
    """
    parts = urlsplit(url)
    # The address is written into config.gin, so it must hold no secret.
    if "@" in parts.netloc:
        raise UserError("remote teacher: the url holds a name or password: leave it out, and name key_variable")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"remote teacher: url is {url!r}; give one such as 'http://localhost:8000/v1'")
    path = parts.path.rstrip("/")
    path = path if path.endswith("/chat/completions") else f"{path}/chat/completions"
    return urlunsplit(parts._replace(path=path))


async def _read(response: httpx.Response) -> bytes:
    """The answer's content; cut where it gets too long to be a chat completion."""
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            break
    return bytes(content)


def _message(content: bytes) -> str:
    """What an endpoint says about an error, as ": MESSAGE"; "" if it says nothing in JSON."""
    try:
        fields = parse_json(content.decode("utf-8"))
    except ValueError:
        # A page for a browser is no use here, and might hold anything.
        return ""
    # Servers differ in where they put the message.
    for name in ("error", "message", "detail"):
        value = fields.get(name) if isinstance(fields, dict) else None
        value = value.get("message") if isinstance(value, dict) else value
        if isinstance(value, str) and value.strip():
            return f": {value}"
    return ""


def _pause(limits: ChatLimits, attempt: int, asked: float | None) -> float:
    """Seconds to wait before a request is repeated.

    Args:
      attempt: number of the attempt that failed, from 0.
      asked: what the endpoint asks for; it is the least.
    """
    pause = min(limits.longest_pause, limits.first_pause * 2**attempt) * random.uniform(0.5, 1)
    return pause if asked is None else asked + min(pause, limits.first_pause)


def _seconds(retry_after: str | None) -> float | None:
    """The seconds of a Retry-After header, which is a number or a date; None without one."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            then = email.utils.parsedate_to_datetime(retry_after)
            seconds = (then - datetime.datetime.now(datetime.UTC)).total_seconds()
        except (ValueError, TypeError):  # TypeError: a date without a time zone
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
