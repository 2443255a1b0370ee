"""Whose connection this is: which listener it came to, and what an operator writes first for a sandbox's door.

The latter is proven under a key of the home.
"""

import hashlib
import hmac
import re
import uuid
from typing import Final

from raworc.wire.peer import Door, ListenerKind

_PREAMBLE: Final = re.compile(rb"RAWORC-DOOR 1 ([0-9a-f-]{36}) ([0-9]{1,18}) ([0-9a-f]{64})")
MAX_PREAMBLE_BYTES: Final = 160


def door_preamble(key: bytes, session_id: uuid.UUID, epoch: int) -> bytes:
    """What an operator writes first on a connection that it opens for a sandbox's door."""
    return b"RAWORC-DOOR 1 %s %d %s\n" % (str(session_id).encode(), epoch, _mac(key, str(session_id), str(epoch)))


def read_preamble(key: bytes, line: bytes) -> Door | None:
    """The door that a preamble (without its newline) proves, or None."""
    match = _PREAMBLE.fullmatch(line)
    if match is None:
        return None
    session, epoch, mac = match[1].decode(), match[2].decode(), match[3]
    if not hmac.compare_digest(mac, _mac(key, session, epoch)):
        return None
    return Door(session_id=uuid.UUID(session), epoch=int(epoch))


def _mac(key: bytes, session: str, epoch: str) -> bytes:
    return hmac.new(key, f"{session} {epoch}".encode(), hashlib.sha256).hexdigest().encode()


def listener_kind(sockname: object, *, door: str, model: str) -> ListenerKind | None:
    """Which listener a connection came to, by its own address; None: a socket that is neither of the two named."""
    if isinstance(sockname, tuple):  # an internet address
        return "public"
    name = sockname.decode() if isinstance(sockname, bytes) else sockname
    kinds: dict[str, ListenerKind] = {door: "door", model: "model"}
    return kinds.get(str(name))
