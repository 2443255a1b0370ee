"""Malformed requests over raw sockets, each kind made anew from a seed.

An :class:`Assault` says what is sent and how; :func:`outcome` sends it and tells what the server did with it.
"""

import asyncio
import contextlib
import random
import re
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Ending = Literal["wait", "half-close", "reset"]

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_QUIET_S = 0.2
_READ_BYTES = 65_536


@dataclass(frozen=True)
class Assault:
    """``pieces`` are sent with ``pause_s`` between them; ``ending`` is what follows the last."""

    kind: str
    pieces: list[bytes]
    pause_s: float = 0.0
    ending: Ending = "wait"


@dataclass
class Outcome:
    """The statuses that were answered, and whether the server let the connection hang: no answer and no end."""

    statuses: list[int] = field(default_factory=list)
    hung: bool = False


Make = Callable[[random.Random, str], Assault]
"""Makes one assault; the text is a token that is good."""


def assaults(seed: int, token: str, kinds: Sequence[Make] = ()) -> Iterator[Assault]:
    """Assaults without end, the same for the same seed; without ``kinds``, those on the API."""
    rng = random.Random(seed)  # noqa: S311  to repeat, not to keep secret
    while True:
        yield rng.choice(kinds or _KINDS)(rng, token)


async def outcome(assault: Assault, host: str, port: int, *, limit_s: float) -> Outcome:
    """What became of it; ``limit_s`` is how long silence may last before it counts as a hang."""
    found, said = Outcome(), bytearray()
    reader, writer = await asyncio.open_connection(host, port)
    reading = asyncio.ensure_future(_listen(reader, said))
    try:
        with contextlib.suppress(ConnectionError):
            for piece in assault.pieces:
                writer.write(piece)
                await writer.drain()
                if assault.pause_s:
                    await asyncio.wait([reading], timeout=assault.pause_s)
                if reading.done():
                    break
            if assault.ending == "half-close" and not reading.done():
                writer.write_eof()
        if assault.ending == "reset":
            found.hung = False
        else:
            found.hung = not await _settled(reading, said, limit_s)
    finally:
        reading.cancel()
        if assault.ending == "reset":
            _reset(writer)
        writer.close()
        await asyncio.gather(reading, writer.wait_closed(), return_exceptions=True)
    found.statuses = [int(status) for status in _STATUS.findall(bytes(said))]
    return found


async def _listen(reader: asyncio.StreamReader, said: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_READ_BYTES):
            said += piece


async def _settled(reading: asyncio.Future[None], said: bytearray, limit_s: float) -> bool:
    """Whether the connection ended, or was answered and is quiet."""
    silent_s, before = 0.0, 0
    while not reading.done() and silent_s < limit_s:
        if said and silent_s >= _QUIET_S:
            return True
        await asyncio.wait([reading], timeout=_QUIET_S)
        silent_s = silent_s + _QUIET_S if len(said) == before else 0.0
        before = len(said)
    return reading.done()


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        handle: socket.socket = writer.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────
_TARGETS = (
    b"GET /livez",
    b"GET /api/v0/agents?limit=5",
    b"GET /api/v0/agents/none",
    b"GET /api-docs/openapi.json",
    b"PUT /api/v0/agents/none",
    b"POST /api/v0/agents",
    b"POST /api/v0/auth/login",
    b"POST /v1/messages",
    b"POST /v1/messages/count_tokens",
    b"GET /v1/models",
    b"DELETE /api/v0/agents/none",
    b"HEAD /",
)
_BODIES = (
    b"",
    b"{}",
    b'{"name": "a-b", "model": "scripted"}',
    b'{"user": "admin", "pass": "x"}',
    b'{"model": "scripted", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}',
    b'{"model": "scripted", "stream": true, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}',
    b"[" * 2000,
)
_STRANGE = (
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b":",
    b" ",
    b"\t",
    b"\xff",
    b"%",
    b"%00",
    b"HTTP/1.1",
    b"chunked",
    b"-1",
    b"0",
)
_FRAMINGS = (
    b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"Content-Length: +5\r\n\r\nhello",
    b"Content-Length: 5, 5\r\n\r\nhello",
    b"Content-Length: 0x5\r\n\r\nhello",
    b"Content-Length: 18446744073709551617\r\n\r\nhello",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\n\r\n",
    b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello",
    b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 20_000 + b"\r\nhello\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"trailer: x\r\n" * 5000 + b"\r\n",
    b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    b"Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello",
    b"Upgrade: h2c\r\nConnection: upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    b"Connection: close\r\nConnection: keep-alive\r\n\r\n",
)


def _whole(rng: random.Random, token: str, *, ends: bool = False) -> bytes:
    """A request as it should be."""
    body = rng.choice(_BODIES)
    return b"".join(
        (
            rng.choice(_TARGETS),
            b" HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ",
            token.encode() if rng.random() < 0.7 else b"eyJhbGciOiJIUzI1NiJ9.e30.x",
            b"\r\nContent-Type: application/json\r\n",
            b"Connection: close\r\n" if ends else b"",
            b"Content-Length: %d\r\n\r\n" % len(body),
            body,
        )
    )


def _mutated(rng: random.Random, token: str) -> Assault:
    data = bytearray(_whole(rng, token))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at:at] = rng.choice(_STRANGE)
            case 2:
                del data[at : at + rng.randint(1, 8)]
            case _:
                data[at:at] = data[at : at + rng.randint(1, 40)]
    return Assault("mutated", [bytes(data)], ending=rng.choice(("wait", "half-close")))


def _noise(rng: random.Random, _token: str) -> Assault:
    return Assault("noise", [rng.randbytes(rng.choice((1, 10, 1000, 100_000)))])


def _framing(rng: random.Random, token: str) -> Assault:
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n"
    path = rng.choice((b"/v1/messages", b"/api/v0/agents", b"/livez"))
    return Assault("framing", [head % (path, token.encode()) + rng.choice(_FRAMINGS)])


def _slow_headers(rng: random.Random, token: str) -> Assault:
    data = _whole(rng, token)
    head = data[: rng.randint(1, data.index(b"\r\n\r\n"))]
    pieces = [head[at : at + 40] for at in range(0, len(head), 40)]
    return Assault("slow headers", pieces, pause_s=0.1)


def _slow_body(rng: random.Random, token: str) -> Assault:
    path = rng.choice((b"/v1/messages", b"/api/v0/agents"))
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
    body = [b"x" * rng.randint(1, 200) for _ in range(rng.randint(0, 4))]
    return Assault("slow body", [head % (path, token.encode(), rng.choice((1000, 10**6))), *body], pause_s=0.1)


def _huge_headers(rng: random.Random, token: str) -> Assault:
    many = rng.random() < 0.5
    extra = b"x-a: b\r\n" * 20_000 if many else b"x-a: " + b"b" * rng.choice((70_000, 1_000_000)) + b"\r\n"
    start = b"GET /livez HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n" % token.encode()
    return Assault("huge headers", [start, extra, b"\r\n"])


def _pipelined(rng: random.Random, token: str) -> Assault:
    requests = [_whole(rng, token) for _ in range(rng.randint(2, 40))]
    if rng.random() < 0.5:
        requests.insert(rng.randrange(len(requests)), _mutated(rng, token).pieces[0])
    return Assault("pipelined", [b"".join(requests)], ending=rng.choice(("wait", "half-close", "reset")))


def _half_closed(rng: random.Random, token: str) -> Assault:
    data = _whole(rng, token)
    return Assault("half-closed", [data[: rng.randint(0, len(data))]], ending="half-close")


def _reset_early(rng: random.Random, token: str) -> Assault:
    data = _whole(rng, token)
    return Assault("reset", [data[: rng.randint(0, len(data))]], ending="reset")


def _too_long(_rng: random.Random, token: str) -> Assault:
    head = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
    return Assault("too long", [head % (token.encode(), 10**12), b"x" * 200_000])


FRAMED: tuple[Make, ...] = (_mutated, _framing, _slow_headers, _slow_body, _pipelined, _half_closed, _too_long)
_KINDS: tuple[Make, ...] = (
    _mutated,
    _mutated,
    _mutated,
    _noise,
    _framing,
    _framing,
    _slow_headers,
    _slow_body,
    _huge_headers,
    _pipelined,
    _half_closed,
    _reset_early,
    _too_long,
)
