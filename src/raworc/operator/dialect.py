"""How our own agents ask a model, whichever wire it is asked on: its part of every ``dialect_*`` file."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from raworc.domain.context import Prompt
from raworc.domain.turns import Block
from raworc.domain.usage import Usage
from raworc.domain.wires import Wire
from raworc.wire.anthropic import Delta, Json
from raworc.wire.sse import SSEEvent

DEFAULT_MAX_TOKENS: Final = 16_384


@dataclass(frozen=True)
class Ask:
    """One model request. ``token`` is the turn's; ``request_id`` names the call's record.

    ``max_tokens``: the longest answer, where somebody set a limit; ``else_tokens`` where the wire needs one to be told.
    """

    model: str
    max_tokens: int | None
    prompt: Prompt
    token: str
    request_id: uuid.UUID
    wire: Wire = "anthropic"
    else_tokens: int = DEFAULT_MAX_TOKENS


@dataclass(frozen=True)
class Reply:
    """A whole message: its blocks, why it stopped, and the tokens it took, all kinds added up.

    ``context_tokens``: the history with this answer, as a real provider counted it.
    """

    blocks: list[Block]
    stop_reason: str | None
    tokens: int
    context_tokens: int | None = None


@dataclass(frozen=True)
class Answered:
    """What an answer says in the Messages API's words. ``history_tokens``: its request and what is kept of it."""

    blocks: list[Block]
    stop_reason: str | None
    usage: Usage
    history_tokens: int


class Hearing(Protocol):
    """Puts a stream's answer together and tells its pieces as they come."""

    done: bool
    error: tuple[str, str] | None

    @property
    def message(self) -> Json:
        """The answer as far as it has come; empty before its beginning."""
        ...

    def feed(self, event: SSEEvent) -> list[Delta]:
        """Take one event; what it brought."""
        ...


@dataclass(frozen=True)
class Dialect:
    """One wire. ``answered`` is given an answer that is whole, and the request it answers."""

    path: str
    headers: Sequence[tuple[bytes, bytes]]
    body: Callable[[Ask], dict[str, Any]]
    hearing: Callable[[], Hearing]
    answered: Callable[[Json, Ask], Answered]
