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


def new_id() -> uuid.UUID:
    """A random id (UUID version 4), unique without asking anyone."""
    return uuid.uuid4()


class Ids:
    """Gives ids as ``new_id`` does, and asks the kernel for many at once. One process' own: a fork would repeat them."""

    def __init__(self) -> None:
        self._drawn: list[bytes] = []

    def new(self) -> uuid.UUID:
        """The next one."""
        if not self._drawn:
            drawn = os.urandom(_AT_ONCE * _ID_BYTES)
            self._drawn = [drawn[at : at + _ID_BYTES] for at in range(0, len(drawn), _ID_BYTES)]
        return uuid.UUID(bytes=self._drawn.pop(), version=4)
