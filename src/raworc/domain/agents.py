"""What may be asked of an agent: its fields, their ranges and their defaults."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from raworc.domain.lifecycle import MAX_TIMEOUT_S
from raworc.domain.names import check_agent_name, check_tags
from raworc.domain.text import storable, storable_text
from raworc.errors import BadRequest, FieldError

Json = dict[str, Any]

IDLE_TIMEOUT_S: Final = 300
BUSY_TIMEOUT_S: Final = 3600
DEFAULT_SPACE: Final = "default"
DEFAULT_NETWORK: Final = "none"
MAX_MODEL_CHARACTERS: Final = 200
MAX_ANSWER_TOKENS: Final = 1_000_000

LIMITS: Final[Mapping[str, tuple[float, float, float]]] = {
    "memory_mb": (64, 1_048_576, 1024),
    "cpus": (0.1, 256, 1),
    "pids": (16, 65_536, 256),
    "disk_mb": (16, 16_777_216, 2048),
}
"""Of each limit: the least, the most, the default."""

MAX_ENTRIES: Final = 64
_OTHER_LIST: Final = 65_536
LISTS: Final[Mapping[str, int]] = {"tools": 65_536, "guardrails": 65_536, "knowledge_bases": 262_144}
"""The lists of an agent, each with the most characters that it may have as JSON. Entries are the user's own:
those that mean nothing here are kept and shown, and a note in each turn says so."""


def disk_mb(limits: Mapping[str, Any]) -> int:
    """How large an agent's files may become together; ``limits`` are those that were given."""
    return int(limits.get("disk_mb", LIMITS["disk_mb"][2]))


@dataclass(frozen=True)
class NewAgent:
    """An agent to be made. None stands for the default."""

    name: str
    description: str | None = None
    metadata: Json = field(default_factory=dict[str, Any])
    tags: Sequence[str] = ()
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    instructions: str | None = None
    setup: str | None = None
    prompt: str | None = None
    idle_timeout_s: int | None = None
    busy_timeout_s: int | None = None
    space: str | None = None
    model: str | None = None
    max_tokens: int | None = None
    network: str | None = None
    limits: Mapping[str, float | None] | None = None
    tools: Sequence[Any] | None = None
    guardrails: Sequence[Any] | None = None
    knowledge_bases: Sequence[Any] | None = None


@dataclass(frozen=True)
class AgentChange:
    """What is to change of an agent. None keeps."""

    description: str | None = None
    metadata: Json | None = None
    tags: Sequence[str] | None = None
    instructions: str | None = None
    setup: str | None = None
    idle_timeout_s: int | None = None
    busy_timeout_s: int | None = None
    model: str | None = None
    max_tokens: int | None = None
    network: str | None = None
    limits: Mapping[str, float | None] | None = None
    tools: Sequence[Any] | None = None
    guardrails: Sequence[Any] | None = None
    knowledge_bases: Sequence[Any] | None = None


def checked(new: NewAgent) -> Json:
    """The columns of a new agent, name included; session, owner and secrets are not among them.

    Raises:
        BadRequest: a field outside its rules.
    """
    return {
        "name": check_agent_name(new.name),
        "metadata": storable(dict(new.metadata)),
        "tags": check_tags(new.tags),
        "limits": check_limits(new.limits, {name: default for name, (_, _, default) in LIMITS.items()}),
        **_texts(new),
        **_model(new),
        **_lists(new),
        "network": DEFAULT_NETWORK,
    }


def changed(change: AgentChange, limits: Mapping[str, float]) -> Json:
    """The columns that ``change`` sets, over the present ``limits``. Timeouts are not among them.

    Raises:
        BadRequest: a field outside its rules, or nothing to change.
    """
    limited = {name: value for name, value in (change.limits or {}).items() if value is not None}
    if replace(change, limits=limited or None) == AgentChange():
        raise BadRequest("Nothing to change: give at least one field")
    values = {**_texts(change), **_model(change), **_lists(change)}
    if change.metadata is not None:
        values["metadata"] = storable(change.metadata)
    if change.tags is not None:
        values["tags"] = check_tags(change.tags)
    if change.limits is not None:
        values["limits"] = check_limits(change.limits, limits)
    return {name: value for name, value in values.items() if value is not None}


def check_timeout(seconds: int | None, field_name: str) -> int | None:
    """``seconds`` itself.

    Raises:
        BadRequest: below 1 or above a week.
    """
    if seconds is None or 1 <= seconds <= MAX_TIMEOUT_S:
        return seconds
    raise _refused(field_name, f"must be 1 to {MAX_TIMEOUT_S} seconds")


def check_limits(given: Mapping[str, float | None] | None, present: Mapping[str, float]) -> dict[str, float]:
    """``present`` with what is ``given`` (None keeps) put over it.

    Raises:
        BadRequest: a limit outside its range.
    """
    found = dict(present)
    for name, value in (given or {}).items():
        if value is None or name not in LIMITS:
            continue
        least, most, _ = LIMITS[name]
        if not least <= value <= most:
            raise _refused(f"limits.{name}", f"must be {least} to {most}")
        found[name] = value
    return found


def _texts(source: NewAgent | AgentChange) -> Json:
    texts = {"description": source.description, "instructions": source.instructions, "setup": source.setup}
    return {name: text if text is None else storable_text(text) for name, text in texts.items()}


def _model(source: NewAgent | AgentChange) -> Json:
    model, tokens = source.model, source.max_tokens
    if model is not None and not 1 <= len(model.strip()) <= MAX_MODEL_CHARACTERS:
        raise _refused("model", f"must be a model's name of 1 to {MAX_MODEL_CHARACTERS} characters")
    if tokens is not None and not 1 <= tokens <= MAX_ANSWER_TOKENS:
        raise _refused("max_tokens", f"must be 1 to {MAX_ANSWER_TOKENS}")
    if source.network not in {None, DEFAULT_NETWORK}:
        raise BadRequest(
            "network policy not supported by this driver: use 'none'",
            details=(FieldError("network", "must be 'none'"),),
        )
    name = None if model is None else storable_text(model.strip())
    return {"model": name, "max_tokens": tokens, "network": source.network or None}


def _lists(source: NewAgent | AgentChange) -> Json:
    given = {name: value for name in LISTS if (value := getattr(source, name)) is not None}
    return {name: check_list(name, value) for name, value in given.items()}


def check_list(name: str, given: Sequence[Any]) -> list[Any]:
    """One of an agent's lists as it is stored.

    Raises:
        BadRequest: too many entries, or too much in all.
    """
    most = LISTS.get(name, _OTHER_LIST)
    if len(given) > MAX_ENTRIES:
        raise _refused(name, f"may have {MAX_ENTRIES} entries at most")
    kept = storable(list(given))
    if len(json.dumps(kept, ensure_ascii=False)) > most:
        raise _refused(name, f"may have {most} characters as JSON at most")
    return kept


def _refused(field_name: str, reason: str) -> BadRequest:
    return BadRequest(f"'{field_name}' {reason}", details=(FieldError(field_name, reason),))
