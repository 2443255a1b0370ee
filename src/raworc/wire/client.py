"""The HTTP/1.1 client for model calls: small, fast, and exact to the byte.

A call is sent as it is given and the answer is handed on as it comes: no redirects, no cookies, no decoding. Read
ahead is bounded, so a slow reader slows the sender. Connections are kept and reused. A kept connection that turns
out closed before one byte of an answer came is replaced once; nothing else is retried.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from raworc.wire.connection import (
    ConnectFailed,
    Connection,
    Pool,
    Response,
    Timeouts,
    UpstreamBroken,
    UpstreamClosed,
    UpstreamError,
    UpstreamTimeout,
)
from raworc.wire.eager import in_task

__all__ = [
    "Client",
    "ConnectFailed",
    "Headers",
    "Reach",
    "Response",
    "Target",
    "Timeouts",
    "UpstreamBroken",
    "UpstreamClosed",
    "UpstreamError",
    "UpstreamTimeout",
]

Headers = Sequence[tuple[bytes, bytes]]

_BODILESS: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class Target:
    """Where calls go: ``host`` and ``port`` or the path of a UNIX ``socket``; ``prefix`` goes before every path."""

    host: str
    port: int
    tls: bool = False
    prefix: str = ""
    socket: str | None = None

    @classmethod
    def parse(cls, url: str) -> "Target":
        """``http://host[:port][/prefix]``, ``https://...`` or ``unix:/path/of.sock``.

        Raises:
            ValueError: any other text; the message says what is wrong.
        """
        if url.startswith("unix:"):
            path = url.removeprefix("unix:")
            if not Path(path).is_absolute():
                raise ValueError(f"'{url}' must name an absolute socket path, as in 'unix:/run/model.sock'")
            return cls(host="localhost", port=0, socket=path)
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"'{url}' must start with 'http://', 'https://' or 'unix:/'")
        if parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError(f"'{parts.hostname}': a base URL has no credentials, query or fragment")
        tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls=tls, prefix=parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """What the ``Host`` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        plain = self.socket is not None or self.port == (443 if self.tls else 80)
        return host if plain else f"{host}:{self.port}"


@dataclass(frozen=True)
class Reach:
    """How a target is reached: how long anything may take, and whose certificates count (None: the usual ones)."""

    timeouts: Timeouts | None = None
    trust: ssl.SSLContext | None = None


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """The usual authorities, and the one in a file besides.

    Raises:
        OSError: the file cannot be read, or holds no certificates.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


class Client:
    """Calls one target. Make it inside the event loop that uses it; ``close()`` ends the kept connections."""

    def __init__(
        self,
        target: Target,
        *,
        timeouts: Timeouts | None = None,
        trust: ssl.SSLContext | None = None,
        keep: int = 256,
    ) -> None:
        self._target = target
        self._timeouts = timeouts or Timeouts()
        self._keep = keep
        self._pool = Pool()
        self._tls = (trust or trusting(None)) if target.tls else None
        self._host_line = b"host: %b" % target.authority.encode("idna")

    async def open(self, method: str, path: str, headers: Headers, body: bytes) -> Response:
        """Send one request and wait for the head of its answer. The caller must ``close()`` the response.

        ``path`` starts with ``/`` and carries the query; ``headers`` come without ``host``, ``content-length``
        and ``transfer-encoding``, which are set here. A cancelled call leaves no connection.

        Raises:
            UpstreamError: as the tree above.
        """
        return await self.send(method, path, self.lines(headers), body)

    def lines(self, headers: Headers) -> bytes:
        """The lines of a request's headers, for ``send``: the same for all requests that have the same."""
        return b"\r\n".join([self._host_line, *[b": ".join(header) for header in headers], b""])

    async def send(self, method: str, path: str, lines: bytes, body: bytes) -> Response:
        """As ``open``, with headers as ``lines`` of this client gave them."""
        request = self._request(method, path, lines, body)
        connection = self._kept()
        if connection is not None:
            try:
                return await connection.exchange(request)
            except UpstreamClosed:
                if connection.answered:
                    raise
        connection = await self._connect()
        return await connection.exchange(request)

    async def close(self) -> None:
        """End every kept connection; those that serve a call end with it."""
        self._pool.closed = True
        while self._pool.idle:
            self._pool.idle.pop().abort()

    def _request(self, method: str, path: str, lines: bytes, body: bytes) -> bytes:
        first = f"{method} {self._target.prefix}{path} HTTP/1.1\r\n".encode("latin-1")
        if body or method not in _BODILESS:
            return b"%b%bcontent-length: %d\r\n\r\n%b" % (first, lines, len(body), body)
        return b"%b%b\r\n" % (first, lines)

    def _kept(self) -> Connection | None:
        while self._pool.idle:
            connection = self._pool.idle.pop()
            if connection.usable():
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        await in_task()
        loop = asyncio.get_running_loop()
        target, limit = self._target, self._timeouts.connect_s

        def make() -> Connection:
            return Connection(self._pool, self._timeouts, self._keep)

        try:
            async with asyncio.timeout(limit):
                if target.socket is not None:
                    _, connection = await loop.create_unix_connection(make, target.socket)
                else:
                    name = target.host if self._tls else None
                    _, connection = await loop.create_connection(
                        make, target.host, target.port, ssl=self._tls, server_hostname=name
                    )
        except TimeoutError:
            raise UpstreamTimeout("connect", limit) from None
        except ssl.SSLCertVerificationError as error:
            raise ConnectFailed(
                f"Cannot connect to '{target.authority}': its certificate does not count: {error.verify_message}"
            ) from None
        except OSError as error:
            raise ConnectFailed(f"Cannot connect to '{target.socket or target.authority}': {error}") from None
        return connection
