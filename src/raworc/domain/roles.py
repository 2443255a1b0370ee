"""What a role may say: rules of resources and verbs, as the documents of all contracts write them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from raworc.domain.access import ANY, RESOURCES, VERBS, Grant, Scope, rule
from raworc.errors import BadRequest, FieldError

MAX_RULES: Final = 64
MAX_WORDS: Final = 64
DEFAULT_GROUPS: Final = ("api",)


@dataclass(frozen=True)
class RoleRule:
    """One rule as it is given. ``api_groups`` is shown again and means nothing here."""

    resources: Sequence[str]
    verbs: Sequence[str]
    scope: Scope = "space"
    api_groups: Sequence[str] | None = None


def checked(rules: Sequence[RoleRule]) -> list[dict[str, Any]]:
    """Rules as they are stored.

    Raises:
        BadRequest: too many of anything, or a word that names nothing.
    """
    if len(rules) > MAX_RULES:
        raise _refused("rules", f"may be {MAX_RULES} at most")
    return [_checked(item, f"rules.{number}") for number, item in enumerate(rules)]


def grant(stored: Sequence[dict[str, Any]], space: str | None) -> Grant:
    """What stored rules give whom they are bound to, in one space or (None) everywhere."""
    return Grant(tuple(rule(item["resources"], item["verbs"], item.get("scope", "space")) for item in stored), space)


def _checked(item: RoleRule, place: str) -> dict[str, Any]:
    _check_words(item.resources, RESOURCES, f"{place}.resources")
    _check_words(item.verbs, VERBS, f"{place}.verbs")
    stored: dict[str, Any] = {"resources": list(item.resources), "verbs": list(item.verbs), "scope": item.scope}
    if item.api_groups is not None:
        if len(item.api_groups) > MAX_WORDS or any(len(name) > MAX_WORDS for name in item.api_groups):
            raise _refused(f"{place}.api_groups", f"may be {MAX_WORDS} of {MAX_WORDS} characters at most")
        stored["api_groups"] = list(item.api_groups)
    return stored


def _check_words(words: Sequence[str], known: frozenset[str], place: str) -> None:
    if not 1 <= len(words) <= MAX_WORDS:
        raise _refused(place, f"must name 1 to {MAX_WORDS}")
    if not known.issuperset(set(words) - {ANY}):
        raise _refused(place, f"may name {ANY}, {', '.join(sorted(known))}")


def _refused(place: str, reason: str) -> BadRequest:
    return BadRequest(f"'{place}' {reason}", details=(FieldError(place, reason),))
