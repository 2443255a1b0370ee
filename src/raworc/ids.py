"""The identifiers that cross layers, each with a type of its own."""

import uuid
from typing import NewType

AccountId = NewType("AccountId", uuid.UUID)
AgentId = NewType("AgentId", uuid.UUID)
SessionId = NewType("SessionId", uuid.UUID)
TurnId = NewType("TurnId", uuid.UUID)
RequestId = NewType("RequestId", uuid.UUID)
WorkerId = NewType("WorkerId", uuid.UUID)
"""One running process (an operator or a server), from its start to its end."""


def new_id() -> uuid.UUID:
    """A random id (UUID version 4), unique without asking anyone."""
    return uuid.uuid4()
