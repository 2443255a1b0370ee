"""What calls ask and are answered, told in one shape: the Messages API's. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from raworc.domain.wires import Endpoint, Wire, endpoint_of, looks_at_response, wire_of
from raworc.wire import chat, responses
from raworc.wire.anthropic import Json, MessageAssembler
from raworc.wire.sse import SSEEvent


class Assembler(Protocol):
    """Puts a stream's answer together. ``done``: the wire's last event has come; ``error``: it failed instead."""

    done: bool
    error: tuple[str, str] | None

    @property
    def message(self) -> Json:
        """The answer as far as it has come, as it would have been given without a stream."""
        ...

    def feed(self, event: SSEEvent) -> object:
        """Take one event."""
        ...


@dataclass(frozen=True)
class Spoken:
    """How one endpoint is read.

    ``asked`` gives a request's ``messages``, ``system`` and ``tools``, ``told`` an answer's ``content``,
    ``stop_reason``, ``usage`` and ``model``; ``failed`` the type and message of a failure that was answered with 200.
    """

    wire: Wire
    asked: Callable[[Json], Json]
    told: Callable[[Json], Json]
    assembler: Callable[[], Assembler]
    failed: Callable[[Json], tuple[str, str] | None]


def _same(said: Json) -> Json:
    return said


def _never(_answer: Json) -> None:
    return None


def _nothing(_said: Json) -> Json:
    return {}


def _used(answer: Json) -> Json:
    return {"usage": answer.get("usage"), "model": answer.get("model")}


def spoken_at(method: str, path: str) -> Spoken:
    """How the endpoint of a call is read. Of those that make no model speak, what was used at most."""
    endpoint = endpoint_of(method, path)
    if endpoint != "other" or wire_of(path, {}) == "anthropic":
        return SPOKEN[endpoint]
    return _LOOKED_AT if looks_at_response(method, path) else _OTHER


_MESSAGES: Final = Spoken("anthropic", _same, _same, MessageAssembler, _never)
SPOKEN: Final[dict[Endpoint, Spoken]] = {
    "messages": _MESSAGES,
    "chat": Spoken("openai", chat.asked, chat.told, chat.ChatAssembler, _never),
    "responses": Spoken("openai", responses.asked, responses.told, responses.ResponseAssembler, responses.failure),
    "other": _MESSAGES,  # as far as it can be
}
_OTHER: Final = Spoken("openai", _nothing, _used, chat.ChatAssembler, _never)
_LOOKED_AT: Final = Spoken(  # an earlier call used what it tells of, and failed if that failed
    "openai", _nothing, _nothing, partial(responses.ResponseAssembler, _never), _never
)
