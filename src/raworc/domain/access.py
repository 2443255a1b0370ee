"""Who may do what: one pure function over what a caller was granted. Nothing granted, nothing allowed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

Scope = Literal["space", "global"]
Verb = Literal["get", "read", "list", "create", "update", "delete", "read-values"]

ANY: Final = "*"
OWN: Final = "own-"
"""``own-agents`` is to ``agents`` what a caller may do with those that belong to himself."""

VERBS: Final = frozenset({"get", "read", "list", "create", "update", "delete", "read-values"})
RESOURCES: Final = frozenset(
    {
        "spaces",
        "secrets",
        "agents",
        "own-agents",
        "sessions",
        "messages",
        "builds",
        "service-accounts",
        "roles",
        "role-bindings",
        "requests",
        "usage",
        "upstreams",
        "keys",
        "own-keys",
        "webhooks",
        "audit",
    }
)
"""What rules may name, besides ``*``: a name that means nothing now must not come to mean something later."""

_SAME_VERB: Final = {"get": "read"}
_LOOKS: Final = frozenset({"read", "list"})


@dataclass(frozen=True)
class Rule:
    """Verbs on resources, ``*`` for all. ``scope`` matters to bindings without a space, see :func:`may`."""

    resources: frozenset[str]
    verbs: frozenset[str]
    scope: Scope = "space"

    def covers(self, verb: str, resource: str) -> bool:
        """Whether it names this verb and this resource."""
        return _names(self.verbs, _verb(verb)) and _names(self.resources, resource)


@dataclass(frozen=True)
class Grant:
    """The rules of one role, bound to an account for one ``space``, or (None) everywhere."""

    rules: tuple[Rule, ...]
    space: str | None


def rule(resources: Iterable[str], verbs: Iterable[str], scope: Scope = "space") -> Rule:
    """A rule as documents write it; ``get`` and ``read`` are one verb."""
    return Rule(frozenset(resources), frozenset(_verb(verb) for verb in verbs), scope)


def may(grants: Iterable[Grant], verb: str, resource: str, *, space: str | None, owner: bool = False) -> bool:
    """Whether ``grants`` allow ``verb`` on a ``resource`` of ``space`` (None: it belongs to no space).

    A binding without a space counts everywhere. One for a space gives nothing outside that space; its rules
    of scope ``global`` give the sight of that space itself and nothing more. ``owner``: the thing is the
    caller's own, so rules for ``own-<resource>`` count too.
    """
    names = (resource, OWN + resource) if owner else (resource,)
    return any(
        held.covers(verb, name) and _reaches(grant, held, verb, name, space)
        for grant in grants
        for held in grant.rules
        for name in names
    )


def spaces_for(grants: Iterable[Grant], verb: str, resource: str) -> frozenset[str] | None:
    """The spaces in which ``grants`` allow ``verb`` on ``resource``; None means all of them."""
    found: set[str] = set()
    for grant in grants:
        space = grant.space
        if any(held.covers(verb, resource) and _reaches(grant, held, verb, resource, space) for held in grant.rules):
            if grant.space is None:
                return None
            found.add(grant.space)
    return frozenset(found)


def is_admin(grants: Iterable[Grant]) -> bool:
    """Whether they hold every verb on every resource everywhere."""
    return any(
        grant.space is None and any(ANY in held.verbs and ANY in held.resources for held in grant.rules)
        for grant in grants
    )


def covers(held: Iterable[Grant], asked: Iterable[Grant]) -> bool:
    """Whether whoever holds the first may hand out, or take away, the second: all that it allows, he is allowed.

    ``*`` is within ``*`` only, however much else is held.
    """
    mine = [(grant, item) for grant in held for item in grant.rules]
    return all(
        any(item.covers(verb, resource) and _reaches(grant, item, verb, resource, wanted.space) for grant, item in mine)
        for wanted in asked
        for verb, resource in _effects(wanted)
    )


def _effects(grant: Grant) -> Iterator[tuple[str, str]]:
    """The verbs and resources that a grant comes to where it is bound."""
    for item in grant.rules:
        if grant.space is None or item.scope == "space":
            yield from ((verb, resource) for verb in item.verbs for resource in item.resources)
        else:
            yield from ((verb, "spaces") for verb in _LOOKS if item.covers(verb, "spaces"))


def _reaches(grant: Grant, held: Rule, verb: str, resource: str, space: str | None) -> bool:
    if grant.space is None:
        return True
    if held.scope == "space":
        return grant.space == space
    return resource == "spaces" and _verb(verb) in _LOOKS and grant.space == space


def _names(held: frozenset[str], asked: str) -> bool:
    return asked in held or ANY in held


def _verb(verb: str) -> str:
    return _SAME_VERB.get(verb, verb)
