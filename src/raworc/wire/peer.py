"""Who is at the other end of a connection, and how the gateway speaks with him.

The edge puts a :class:`Peer` into the ASGI scope under :data:`SCOPE_KEY` for the API; the gateway gets a :class:`Line`.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from raworc.errors import RaworcError
from raworc.wire.eager import EagerTask
from raworc.wire.heading import Heading

SCOPE_KEY: Final = "raworc"
ListenerKind = Literal["public", "door", "model"]
"""``public``: the port; ``door``: where sandboxes' doors lead; ``model``: the operators' own model calls."""


@dataclass(frozen=True)
class Door:
    """The sandbox whose door this connection came through, proven by the operator that opened it."""

    session_id: uuid.UUID
    epoch: int


@dataclass(frozen=True)
class Peer:
    """One connection. ``door`` is set exactly when ``listener`` is ``door``.

    ``is_local``: a program on this machine speaks for itself; never true of what a proxy passes on.
    ``closing`` is set when the server stops: whoever streams without end should end now.
    """

    listener: ListenerKind
    door: Door | None = None
    is_local: bool = False
    closing: asyncio.Event = field(default_factory=asyncio.Event, compare=False)


class Left(Exception):
    """The connection ended before the request was whole: by the client, or by the edge, whose ``refusal`` says why."""


class TooLarge(Exception):
    """The request's body is longer than it may be."""


class Line(Protocol):
    """One request whose head has come, and its answer. ``headers`` have lower-case names; ``target`` has the query.

    ``named`` has the last value of each header, ``heading`` what they say but for their length. ``call`` is the task
    that serves it, ``refusal`` tells why the edge ended it. ``on_left`` is called once when the client leaves before
    it is answered.
    """

    method: str
    path: str
    target: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    named: dict[bytes, bytes]
    heading: Heading
    peer: Peer
    call: EagerTask
    disconnected: bool
    refusal: RaworcError | None
    on_left: Callable[[], None] | None

    async def body(self, limit_bytes: int) -> bytes:
        """All of it.

        Raises:
            TooLarge: it is longer; as soon as that is known.
            Left: it will never be whole.
        """
        ...

    def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Begin the answer; ``headers`` hold nothing that ends a line. It leaves with the first piece, or by itself."""
        ...

    def piece(self, data: bytes, *, last: bool) -> None:
        """A piece of the answer, of any size. After the last one nothing may follow."""
        ...

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, at_once: bool) -> None:
        """All of it, as ``start`` and the only ``piece``; ``at_once``: it leaves before this returns."""
        ...

    @property
    def keeps_up(self) -> bool:
        """Whether there is nothing to wait for by ``writable``."""
        ...

    async def writable(self) -> None:
        """Wait for a client that does not keep up. Who does not, has his pieces gathered in memory."""
        ...

    @property
    def may_stream(self) -> bool:
        """Whether ``stream`` may be called: the answer has chunks, and its client is there and keeps up."""
        ...

    def stream(self, piece: bytes) -> None:
        """Send a piece that is neither empty nor the last, at once."""
        ...
