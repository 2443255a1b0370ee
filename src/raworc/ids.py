"""The identifiers that cross layers, each with a type of its own."""

import os
import uuid
from typing import Final, NewType

AccountId = NewType("AccountId", uuid.UUID)
AgentId = NewType("AgentId", uuid.UUID)
SessionId = NewType("SessionId", uuid.UUID)
TurnId = NewType("TurnId", uuid.UUID)
RequestId = NewType("RequestId", uuid.UUID)
WorkerId = NewType("WorkerId", uuid.UUID)
"""One running process (an operator or a server), from its start to its end."""


_ID_BYTES: Final = 16
_AT_ONCE: Final = 256
_VERSION_4: Final = uuid.UUID(int=0, version=4).int
_RANDOM: Final = uuid.UUID(int=(1 << 128) - 1, version=4).int ^ _VERSION_4


def new_id() -> uuid.UUID:
    """A random id (UUID version 4), unique without asking anyone."""
    return uuid.uuid4()


class Ids:
    """Gives ids as ``new_id`` does, from bytes drawn for many at once. Of one process: a fork would repeat them."""

    def __init__(self) -> None:
        self._drawn: list[bytes] = []

    def new(self) -> uuid.UUID:
        """The next one."""
        if not self._drawn:
            drawn = os.urandom(_AT_ONCE * _ID_BYTES)
            self._drawn = [drawn[at : at + _ID_BYTES] for at in range(0, len(drawn), _ID_BYTES)]
        return uuid.UUID(int=int.from_bytes(self._drawn.pop()) & _RANDOM | _VERSION_4)
