"""Responses that work in the background: told by one call, and by whoever looks at them later. No I/O.

Shapes: https://platform.openai.com/docs/guides/background.
"""

from dataclasses import dataclass
from typing import Final

from raworc.domain.wires import endpoint_of, looks_at_response
from raworc.wire import responses
from raworc.wire.anthropic import Json

_LONGEST_ID: Final = 255
_AT_WORK: Final = frozenset({"queued", "in_progress"})


@dataclass(frozen=True)
class Told:
    """What a call says of a response. ``begun``: it made it. Of one that has ``ended``, how, and what it used.

    ``error``: the type and message of one that failed.
    """

    response_id: str
    begun: bool
    ended: bool
    stop_reason: str | None = None
    usage: Json | None = None
    error: tuple[str, str] | None = None


def told(method: str, path: str, answer: Json) -> Told | None:
    """What an answered call says of a response in the background; None where it says nothing of one."""
    begun = endpoint_of(method, path) == "responses"
    response_id, status = answer.get("id"), answer.get("status")
    if not (begun or looks_at_response(method, path)) or answer.get("background") is not True:
        return None
    if not isinstance(response_id, str) or not isinstance(status, str) or len(response_id) > _LONGEST_ID:
        return None
    if status in _AT_WORK:
        return Told(response_id, begun, ended=False) if begun else None
    if begun:
        return None  # it says itself what it used
    summed = responses.told(answer)
    usage = summed["usage"]
    return Told(
        response_id,
        begun,
        ended=True,
        stop_reason=str(summed["stop_reason"]),
        usage=usage or None,
        error=responses.failure(answer),
    )
