"""What may be asked of an agent of the contract organizations: a definition that sessions are made with."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from raworc.domain.agents import check_list
from raworc.domain.prices import is_known
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, FieldError

NAME_PATTERN: Final = r"^[A-Za-z0-9_-]{1,255}$"
MAX_INSTRUCTIONS: Final = 65_535
MAX_DESCRIPTION: Final = 1000
DOCUMENTED_MODELS: Final = frozenset({"gpt-4", "gpt-3.5-turbo", "claude-3"})
SCRIPTED: Final = "scripted"
LISTS: Final = ("tools", "routes", "guardrails", "knowledge_bases")
_NAME: Final = re.compile(NAME_PATTERN.strip("^$"), re.ASCII)


@dataclass(frozen=True)
class Definition:
    """An agent as it is given; of a change, None keeps. The lists are the user's own."""

    name: str | None = None
    description: str | None = None
    instructions: str | None = None
    model: str | None = None
    tools: Sequence[Any] | None = None
    routes: Sequence[Any] | None = None
    guardrails: Sequence[Any] | None = None
    knowledge_bases: Sequence[Any] | None = None
    active: bool | None = None


def checked(given: Definition) -> dict[str, Any]:
    """The columns of what is given.

    Raises:
        BadRequest: a field outside its rules.
    """
    values: dict[str, Any] = {
        name: check_list(name, found) for name in LISTS if (found := getattr(given, name)) is not None
    }
    if given.name is not None:
        values["name"] = _name(given.name)
    if given.description is not None:
        values["description"] = _text("description", given.description, least=0, most=MAX_DESCRIPTION)
    if given.instructions is not None:
        values["instructions"] = _text("instructions", given.instructions, least=1, most=MAX_INSTRUCTIONS)
    if given.model is not None:
        values["model"] = _model(given.model)
    if given.active is not None:
        values["active"] = given.active
    return values


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _refused("name", "must be 1 to 255 letters, digits, hyphens and underscores")
    return name


def _text(field: str, text: str, *, least: int, most: int) -> str:
    if not least <= len(text) <= most:
        raise _refused(field, f"must have {least} to {most} characters")
    return storable_text(text)


def _model(model: str) -> str:
    if model in DOCUMENTED_MODELS or model.startswith(SCRIPTED) or is_known(model):
        return storable_text(model)
    raise _refused("model", "names no model that is known: try a provider's own name for it, or 'scripted'")


def _refused(field: str, reason: str) -> BadRequest:
    return BadRequest(f"'{field}' {reason}", details=(FieldError(field, reason),))
