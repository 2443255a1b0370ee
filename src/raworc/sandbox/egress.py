"""The other way out of a sandbox, where it has one: an HTTP proxy that leads to named hosts only.

It listens inside (``127.0.0.1:8788``) as the door does and is served by the operator: nothing inside can name an
address, only a host, whose addresses are looked up and examined here, and the one that was examined is connected to.
``CONNECT`` tunnels; any other request must be for a whole ``http://`` address.
"""

import asyncio
import socket
from typing import Final
from urllib.parse import urlsplit

import structlog

from raworc.domain.egress import Reach, is_public, plain
from raworc.ids import SessionId
from raworc.sandbox.accepting import CHUNK_BYTES, Accepting, Ends, exchange
from raworc.sandbox.netns import EGRESS_PORT

PROXY_URL: Final = f"http://127.0.0.1:{EGRESS_PORT}"
_HEAD_TIMEOUT_S: Final = 10.0
_CONNECT_TIMEOUT_S: Final = 10.0
_MOST_REFUSED: Final = 20
_ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_WORDS: Final = {400: "Bad Request", 403: "Forbidden", 502: "Bad Gateway", 504: "Gateway Timeout"}
_OURS: Final = (b"proxy-", b"connection:", b"keep-alive:")
"""Beginnings of header lines that are between the client and us."""

log = structlog.get_logger(__name__)


class Refused(Exception):
    """A request that leads nowhere: its status and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Egress:
    """Serves the proxy of one sandbox until closed. ``refused``: hosts that were asked for in vain, in order."""

    def __init__(self, listener: socket.socket, reach: Reach, session_id: SessionId) -> None:
        self.refused: list[str] = []
        self._reach = reach
        self._session_id = session_id
        self._accepting = Accepting(listener, session_id, self._lead)

    async def close(self) -> None:
        """Cut every connection and stop listening."""
        await self._accepting.close()

    async def _lead(self, connection: socket.socket) -> None:
        inside = await asyncio.open_connection(sock=connection, limit=CHUNK_BYTES)
        try:
            method, target, lines = await _head(inside[0])
            host, port, path = _wanted(method, target)
            outside = await self._connected(host, port)
        except Refused as refusal:
            await _refuse(inside[1], refusal)
            return
        if method == "CONNECT":
            inside[1].write(_ESTABLISHED)
        else:
            kept = [line for line in lines if not line.lower().startswith(_OURS)]
            outside[1].write(
                b"\r\n".join([f"{method} {path} HTTP/1.1".encode(), *kept, b"Connection: close", b"", b""])
            )
        await exchange(inside, outside)

    async def _connected(self, host: str, port: int) -> Ends:
        if not self._reach.allows(host, port):
            raise self._refusal(host, port, "it is not among those that may be reached (RAWORC_BUILD_HOSTS)")
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                addresses = await _addresses(host, port)
                if not self._reach.trusts(host, port):
                    addresses = [address for address in addresses if is_public(address)]
                if not addresses:
                    raise self._refusal(host, port, "its address is private (RAWORC_BUILD_HOSTS may name the host)")
                return await _connect(addresses, port)
        except TimeoutError:
            raise Refused(504, f"'{host}' does not answer") from None
        except OSError as error:
            raise Refused(502, f"'{host}' cannot be reached: {error.strerror or error}") from error

    def _refusal(self, host: str, port: int, why: str) -> Refused:
        log.info("egress refused", session_id=str(self._session_id), host=host, port=port, reason=why)
        shown = f"{host}:{port}: {why}"
        if shown not in self.refused and len(self.refused) < _MOST_REFUSED:
            self.refused.append(shown)
        return Refused(403, f"'{host}' may not be reached from here: {why}")


async def _head(reader: asyncio.StreamReader) -> tuple[str, str, list[bytes]]:
    """Method, target and header lines of a request."""
    try:
        async with asyncio.timeout(_HEAD_TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        method, target, version = first.decode("ascii").split(" ")
    except (TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise Refused(400, "this is no HTTP request") from None
    if not version.startswith("HTTP/1.") or not method.isalpha() or not target.isprintable():
        raise Refused(400, "this is no HTTP request")
    return method, target, lines


def _wanted(method: str, target: str) -> tuple[str, int, str]:
    """Host, port, and what to ask for there."""
    is_tunnel = method == "CONNECT"
    try:
        parts = urlsplit(f"//{target}" if is_tunnel else target)
        port = parts.port or (443 if is_tunnel else 80)
    except ValueError:
        raise Refused(400, "this is no address") from None
    if not parts.hostname or parts.username is not None or (not is_tunnel and parts.scheme != "http"):
        raise Refused(400, "this is a proxy: ask for a whole http:// address, or CONNECT")
    return plain(parts.hostname), port, f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"


async def _addresses(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


async def _connect(addresses: list[str], port: int) -> Ends:
    """To the first of them that answers."""
    *others, last = addresses
    for address in others:
        try:
            return await asyncio.open_connection(address, port, limit=CHUNK_BYTES)
        except OSError:
            continue
    return await asyncio.open_connection(last, port, limit=CHUNK_BYTES)


async def _refuse(writer: asyncio.StreamWriter, refusal: Refused) -> None:
    said = f"{refusal}\n".encode()
    word = _WORDS[refusal.status]
    head = f"HTTP/1.1 {refusal.status} {word}\r\nContent-Type: text/plain\r\nContent-Length: {len(said)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + said)
    try:
        await writer.drain()
    finally:
        writer.close()
