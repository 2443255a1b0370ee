"""How the scripted model says the same thing on each wire: its part of every ``speech_*`` file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from raworc.gateway.script import Script
from raworc.gateway.upstreams import Call
from raworc.wire.anthropic import Json

BORN: Final = datetime(2025, 1, 1, tzinfo=UTC)
_PIECE_CHARACTERS: Final = 32
_MOST_PIECES: Final = 64


@dataclass(frozen=True)
class Speech:
    """One endpoint that makes a model speak.

    ``asked`` gives a request in the shapes of the Messages API and raises ``BadScript`` for one that no provider
    would accept; ``answer`` is the whole answer to a call, ``events`` the same as the wire streams it.
    """

    asked: Callable[[Json], Json]
    answer: Callable[[Script, Call, Json], Json]
    events: Callable[[Json, Json], Iterator[bytes]]


def pieces(text: str) -> list[str]:
    """The text in pieces that read like a stream, and not too many of them."""
    size = max(_PIECE_CHARACTERS, -(-len(text) // _MOST_PIECES))
    return [text[start : start + size] for start in range(0, len(text), size)]


def event(body: Json) -> bytes:
    """One event of a wire that names them by their ``type``."""
    return b"event: %b\ndata: %b\n\n" % (body["type"].encode(), msgspec.json.encode(body))


def call_id(block: Json) -> str:
    """The id of a tool use as OpenAI's wires write it."""
    return "call_" + str(block["id"]).removeprefix("toolu_")


def arguments(block: Json) -> str:
    """What a tool is called with, as OpenAI's wires write it."""
    return msgspec.json.encode(block["input"]).decode()
