"""Who is at the other end of a connection: what the HTTP edge knows before it reads a request.

The edge puts a :class:`Peer` into the ASGI scope under :data:`SCOPE_KEY`; the API and the gateway read it.
"""

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Final, Literal

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
