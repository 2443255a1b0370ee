"""What may be asked of a session of the contracts spaces and organizations: its fields, and where it may go.

Both contracts show one set of sessions, each in its own words. Their tables of moves stand here as the documents have
them; what a move comes to is one of few things that the services do (``Move``).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from raworc.domain.agents import IDLE_TIMEOUT_S
from raworc.domain.lifecycle import State, TurnStatus
from raworc.domain.text import storable, storable_text
from raworc.errors import BadRequest, FieldError

Json = dict[str, Any]

MAX_NAME: Final = 255
MAX_PROMPT: Final = 65_535
MAX_CONTENT: Final = 65_535
MAX_WAITING_S: Final = 86_400
MAX_METADATA_BYTES: Final = 66_560  # 65 KB
MAX_REASON: Final = 1000
WAITING_S: Final = IDLE_TIMEOUT_S
MAX_AGENTS: Final = 64

SpacesState = Literal["INIT", "IDLE", "BUSY", "PAUSED", "SUSPENDED", "ERROR", "TERMINATED"]
OrganizationsState = Literal["INIT", "READY", "IDLE", "BUSY", "ERROR"]

Move = Literal["nothing", "hold", "release", "pause", "suspend", "resume", "fail", "terminate"]
"""``nothing``: it comes there by itself. ``hold``: shown as busy. ``release``: whatever it does ends. ``fail``: it is
out of order until it is resumed. The others are what the contract spaces calls so."""

Role = Literal["USER", "AGENT", "SYSTEM"]

SPACES_MOVES: Final[Mapping[SpacesState, Mapping[SpacesState, Move]]] = {
    "INIT": {"SUSPENDED": "suspend", "TERMINATED": "terminate"},
    "IDLE": {"PAUSED": "pause", "SUSPENDED": "suspend", "TERMINATED": "terminate"},
    "BUSY": {"PAUSED": "pause", "SUSPENDED": "suspend", "TERMINATED": "terminate"},
    "PAUSED": {"IDLE": "resume", "SUSPENDED": "suspend", "TERMINATED": "terminate"},
    "SUSPENDED": {"IDLE": "resume", "TERMINATED": "terminate"},
    "ERROR": {"IDLE": "resume", "SUSPENDED": "suspend", "TERMINATED": "terminate"},
    "TERMINATED": {},
}

ORGANIZATIONS_MOVES: Final[Mapping[OrganizationsState, Mapping[OrganizationsState, Move]]] = {
    "INIT": {"READY": "nothing", "ERROR": "fail"},
    "READY": {"IDLE": "suspend", "BUSY": "hold", "ERROR": "fail"},
    "IDLE": {"READY": "resume", "ERROR": "fail"},
    "BUSY": {"READY": "release", "ERROR": "fail"},
    "ERROR": {"INIT": "resume", "READY": "resume"},
}


_ORGANIZATIONS_WORDS: Final[Mapping[SpacesState, OrganizationsState]] = {
    "INIT": "INIT",
    "IDLE": "READY",
    "BUSY": "BUSY",
    "PAUSED": "IDLE",
    "SUSPENDED": "IDLE",
    "ERROR": "ERROR",
    "TERMINATED": "ERROR",
}


@dataclass(frozen=True)
class Standing:
    """What a session's shown state is told from. ``is_busy``: held, or a turn waits or is in work."""

    state: State
    is_busy: bool = False


def spaces_state(now: Standing) -> SpacesState:
    """The word of the contract spaces."""
    match now.state:
        case "paused":
            return "PAUSED"
        case "slept":
            return "SUSPENDED"
        case "error":
            return "ERROR"
        case "terminated":
            return "TERMINATED"
        case "init":
            return "INIT"
        case "idle" | "busy":
            return "BUSY" if now.is_busy or now.state == "busy" else "IDLE"


def organizations_state(now: Standing) -> OrganizationsState:
    """The word of the contract organizations."""
    return _ORGANIZATIONS_WORDS[spaces_state(now)]


def shown_as(wanted: OrganizationsState) -> frozenset[SpacesState]:
    """What the contract spaces calls the sessions that organizations shows so."""
    return frozenset(word for word in SPACES_MOVES if _ORGANIZATIONS_WORDS[word] == wanted)


def spaces_move(now: Standing, wanted: SpacesState) -> Move | None:
    """What it takes to bring a session there; None: it may not go there."""
    return SPACES_MOVES[spaces_state(now)].get(wanted)


def organizations_move(now: Standing, wanted: OrganizationsState) -> Move | None:
    """The same in the other contract's words. What is terminated is so for good, although it shows as an error."""
    if now.state == "terminated":
        return None
    return ORGANIZATIONS_MOVES[organizations_state(now)].get(wanted)


@dataclass(frozen=True)
class Fields:
    """Fields of a session as they are given; None: not given."""

    name: str | None = None
    starting_prompt: str | None = None
    waiting_timeout_s: int | None = None
    metadata: Mapping[str, Any] | None = None


def checked(given: Fields) -> Json:
    """The columns of what is given, the timeout not among them.

    Raises:
        BadRequest: a field outside its rules.
    """
    values: Json = {}
    if given.name is not None:
        values["name"] = _text("name", given.name, MAX_NAME)
    if given.starting_prompt is not None:
        values["starting_prompt"] = _text("starting_prompt", given.starting_prompt, MAX_PROMPT)
    if given.metadata is not None:
        values["metadata"] = check_metadata(given.metadata)
    if given.waiting_timeout_s is not None and not 0 <= given.waiting_timeout_s <= MAX_WAITING_S:
        raise _refused("waiting_timeout_seconds", f"must be 0 (never) to {MAX_WAITING_S}")
    return values


def check_metadata(metadata: Mapping[str, Any]) -> Json:
    """``metadata`` as it is stored: the user's own.

    Raises:
        BadRequest: larger than 65 KB as JSON.
    """
    kept: Json = storable(dict(metadata))
    if len(json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()) > MAX_METADATA_BYTES:
        raise _refused("metadata", f"may have {MAX_METADATA_BYTES} bytes as JSON at most")
    return kept


def check_content(content: str) -> str:
    """What a message says, as it is stored.

    Raises:
        BadRequest: empty, or too long.
    """
    return _text("content", content, MAX_CONTENT)


def answer_of(role: str | None, content: str, status: TurnStatus, reason: str | None) -> tuple[Role, str]:
    """Who speaks in a message, and what is said; ``role`` None: it answers a turn that ended with ``status``.

    Where that has no answer of its own, the system says why, so that whoever waits for one is told.
    """
    match role:
        case "USER" | "AGENT" | "SYSTEM":
            return role, content
        case _ if status == "completed":
            return "AGENT", content
        case _ if status == "failed":
            return "SYSTEM", f"This message was not answered: {reason or 'its turn failed'}"
        case _:
            return "SYSTEM", f"This message was not answered: {_CANCELLED.get(reason or '', 'it was cancelled')}"


_CANCELLED: Final = {
    "suspend": "the session was suspended first",
    "terminate": "the session was terminated first",
    "fail": "the session was put out of order first",
}


def check_reason(reason: str | None) -> str | None:
    """Why a session ends, as it is stored.

    Raises:
        BadRequest: too long.
    """
    return _text("termination_reason", reason, MAX_REASON) if reason else None


def _text(field: str, text: str, most: int) -> str:
    if not 1 <= len(text) <= most:
        raise _refused(field, f"must have 1 to {most} characters")
    return storable_text(text)


def _refused(field: str, reason: str) -> BadRequest:
    return BadRequest(f"'{field}' {reason}", details=(FieldError(field, reason),))
