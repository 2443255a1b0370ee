"""Our own agents' model calls: one streamed request through the gateway, and its answer put together.

The gateway retries what can be retried with the provider. What only the caller can do again, because the
gateway's connection or the stream broke off, is told apart as :class:`CallBroken`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from raworc.domain.compaction import reported_tokens
from raworc.domain.wires import Wire
from raworc.errors import Unavailable
from raworc.operator.dialect import Answered, Ask, Dialect, Reply
from raworc.operator.dialect_chat import CHAT
from raworc.operator.dialect_messages import MESSAGES
from raworc.wire.anthropic import STORAGE_FULL, Delta, error_of, parse_message
from raworc.wire.client import Client, ConnectFailed, Response, UpstreamError, UpstreamTimeout
from raworc.wire.sse import EventTooLong, SSEDecoder

DELTA_EVERY_S: Final = 0.1
_DIALECTS: Final[dict[Wire, Dialect]] = {"anthropic": MESSAGES, "openai": CHAT}
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
        dialect = _DIALECTS[ask.wire]
        body = msgspec.json.encode(dialect.body(ask))
        try:
            response = await self._client.open("POST", dialect.path, _headers(ask, dialect), body)
            try:
                answered = await _read(response, ask, hear)
            finally:
                await response.close()
        except EventTooLong as error:
            raise ProviderError("api_error", str(error)) from None
        except UpstreamError as error:
            raise _broken(error) from None
        counts = _PROVIDER not in (name for name, _ in response.headers)  # a built-in one takes characters for tokens
        return Reply(
            answered.blocks,
            answered.stop_reason,
            answered.usage.total,
            reported_tokens(answered.history_tokens, ask.prompt) if counts else None,
        )


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


def _headers(ask: Ask, dialect: Dialect) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/json"),
        *dialect.headers,
        (b"authorization", b"Bearer " + ask.token.encode()),
        (b"x-raworc-request-id", str(ask.request_id).encode()),
    ]


async def _read(response: Response, ask: Ask, hear: Hear) -> Answered:
    if STORAGE_FULL in response.headers:
        raise NoRoom
    if response.status != _OK:
        raise _refusal(response.status, await response.read())
    dialect = _DIALECTS[ask.wire]
    decoder, hearing = SSEDecoder(), dialect.hearing()
    async for chunk in response.chunks():
        for event in decoder.feed(chunk):
            for delta in hearing.feed(event):
                hear(delta)
        if hearing.error is not None:
            raise CallBroken(*hearing.error, sent=True)
    if not (hearing.done and hearing.message):
        raise CallBroken("upstream_disconnected", "The model's answer broke off", sent=True)
    return dialect.answered(hearing.message, ask)


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
