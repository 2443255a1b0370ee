"""Our own agents' model calls: one streamed request through the gateway, and its answer put together.

The gateway retries what can be retried with the provider. What only the caller can do again, because the
gateway's connection or the stream broke off, is told apart as :class:`CallBroken`.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from raworc.domain.compaction import reported_tokens
from raworc.domain.context import Prompt, cached
from raworc.domain.turns import Block
from raworc.domain.usage import read_usage
from raworc.errors import Unavailable
from raworc.wire.anthropic import STORAGE_FULL, Delta, MessageAssembler, error_of, parse_message
from raworc.wire.client import Client, ConnectFailed, Response, UpstreamError, UpstreamTimeout
from raworc.wire.sse import EventTooLong, SSEDecoder

DEFAULT_CLAUDE: Final = "claude-sonnet-5-5"
SCRIPTED: Final = "scripted"
DEFAULT_MAX_TOKENS: Final = 16_384
DELTA_EVERY_S: Final = 0.1
_CHANNELS: Final = {"text": "commentary", "thinking": "analysis"}
_OK: Final = 200
_PROVIDER: Final = b"x-raworc-provider"

Hear = Callable[[Delta], None]


class ProviderError(Exception):
    """The provider, or the gateway in its words, refused: ``code`` is its error's type. Not tried again."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NoRoom(Exception):
    """The gateway's disk has no room to record the call: it was not made. Once there is room, it can be."""


class CallBroken(Exception):
    """The answer did not come whole. ``sent`` is False when the gateway never got the request."""

    def __init__(self, code: str, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.sent = sent


@dataclass(frozen=True)
class Ask:
    """One model request. ``token`` is the turn's; ``request_id`` names the call's record."""

    model: str
    max_tokens: int
    prompt: Prompt
    token: str
    request_id: uuid.UUID


@dataclass(frozen=True)
class Reply:
    """A whole message: the provider's own blocks, why it stopped, and the tokens it took, all kinds added up.

    ``context_tokens``: the history with this answer, as a real provider counted it.
    """

    blocks: list[Block]
    stop_reason: str | None
    tokens: int
    context_tokens: int | None = None


class Model:
    """Asks models over one client of the gateway."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ask(self, ask: Ask, hear: Hear) -> Reply:
        """Make the call; ``hear`` gets the pieces of text as they come. Cancelling it ends the provider's call.

        Raises:
            ProviderError: an error answer.
            CallBroken: no answer, or half of one.
            NoRoom: see there.
        """
        try:
            response = await self._client.open("POST", "/v1/messages", _headers(ask), _body(ask))
            try:
                reply, usage = await _read(response, hear)
            finally:
                await response.close()
        except EventTooLong as error:
            raise ProviderError("api_error", str(error)) from None
        except UpstreamError as error:
            raise _broken(error) from None
        counts = _PROVIDER not in (name for name, _ in response.headers)  # a built-in one takes characters for tokens
        return replace(reply, context_tokens=reported_tokens(usage, ask.prompt) if counts else None)


class Deltas:
    """Publishes running text at most every ``DELTA_EVERY_S``; what the message outruns is never sent."""

    def __init__(self, publish: Callable[[str, str], Awaitable[None]]) -> None:
        self._publish = publish
        self._pieces: list[tuple[str, str]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def hear(self, delta: Delta) -> None:
        """Take a piece."""
        channel = _CHANNELS.get(delta.kind)
        if channel is None:
            return
        if self._pieces and self._pieces[-1][0] == channel:
            self._pieces[-1] = (channel, self._pieces[-1][1] + delta.text)
        else:
            self._pieces.append((channel, delta.text))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELTA_EVERY_S, self._flush)

    async def close(self) -> None:
        """Drop what is not sent: the segment says it all. Nothing is published after this."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            await asyncio.gather(self._sending, return_exceptions=True)

    def _flush(self) -> None:
        self._timer = None
        if self._sending is not None and not self._sending.done():
            self._timer = asyncio.get_running_loop().call_later(DELTA_EVERY_S, self._flush)
            return
        pieces, self._pieces = self._pieces, []
        self._sending = asyncio.ensure_future(self._send(pieces))

    async def _send(self, pieces: list[tuple[str, str]]) -> None:
        with contextlib.suppress(Unavailable):  # lossy by design
            for channel, text in pieces:
                await self._publish(channel, text)


def chosen(own: str | None, default: str | None, *, has_anthropic: bool) -> str:
    """The model an agent uses: its own, the installation's, a current Claude where there is an account, or none."""
    return own or default or (DEFAULT_CLAUDE if has_anthropic else SCRIPTED)


def _headers(ask: Ask) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/json"),
        (b"anthropic-version", b"2023-06-01"),
        (b"authorization", b"Bearer " + ask.token.encode()),
        (b"x-raworc-request-id", str(ask.request_id).encode()),
    ]


def _body(ask: Ask) -> bytes:
    prompt = cached(ask.prompt)
    body: dict[str, Any] = {
        "model": ask.model,
        "max_tokens": ask.max_tokens,
        "stream": True,
        "system": prompt.system,
        "tools": prompt.tools,
        "messages": prompt.messages,
    }
    return msgspec.json.encode(body)


async def _read(response: Response, hear: Hear) -> tuple[Reply, dict[str, Any]]:
    if STORAGE_FULL in response.headers:
        raise NoRoom
    if response.status != _OK:
        raise _refusal(response.status, await response.read())
    decoder, assembler = SSEDecoder(), MessageAssembler()
    async for chunk in response.chunks():
        for event in decoder.feed(chunk):
            for delta in assembler.feed(event):
                hear(delta)
        if assembler.error is not None:
            raise CallBroken(*assembler.error, sent=True)
    if not (assembler.done and assembler.started):
        raise CallBroken("upstream_disconnected", "The model's answer broke off", sent=True)
    message = assembler.message
    used = read_usage(message.get("usage"))
    tokens = used.input_tokens + used.output_tokens + used.cache_creation_input_tokens + used.cache_read_input_tokens
    return Reply(message["content"], message.get("stop_reason"), tokens), message["usage"]


def _broken(error: UpstreamError) -> ProviderError | CallBroken:
    """A gateway that is not there may come back; one that took a call and stays silent was given its time."""
    connecting = isinstance(error, UpstreamTimeout) and error.phase == "connect"
    if isinstance(error, UpstreamTimeout) and not connecting:
        return ProviderError("timeout_error", str(error))
    return CallBroken("gateway_unreachable", str(error), sent=not (connecting or isinstance(error, ConnectFailed)))


def _refusal(status: int, body: bytes) -> ProviderError:
    try:
        error = error_of(parse_message(body))
    except ValueError:
        error = None
    code, message = error or ("api_error", "")
    return ProviderError(code, message or f"The provider answered with status {status}")
