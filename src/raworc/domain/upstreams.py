"""Which upstreams can serve a call (its wire, its model, its space), and in what order they are tried. Pure.

Upstreams that serve a model equally well are one pool: of these a default one comes first, else the train's id
decides (rendezvous hashing), so that a train stays with its account, and caches there, while accounts come and go.
A space's own credential takes the place of every shared account of that provider: nobody else pays for its calls.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal, get_args

from raworc.domain.wires import Wire

ProviderName = Literal["anthropic", "openai", "custom"]
PROVIDERS: Final[tuple[ProviderName, ...]] = get_args(ProviderName)
DEFAULT_URLS: Final[Mapping[str, str]] = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
}
SCRIPTED: Final = "scripted"
PASSTHROUGH: Final = "passthrough"
RESERVED: Final = frozenset({SCRIPTED, PASSTHROUGH})
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"

_NOBODY: Final = 9  # further than any distance
_MADE_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "anthropic": ("claude*",),
    "openai": (
        *("gpt-[0-9]*", "gpt-image-*", "gpt-audio*", "gpt-realtime*", "chatgpt-*", "codex-*", "computer-use-*"),
        *("o[0-9]", "o[0-9]-*", "ft:*", "text-embedding-*", "omni-moderation-*", "dall-e-*", "whisper-*", "tts-*"),
    ),
}
"""Models that a provider is known for: it comes before upstreams that would take any name."""


@dataclass(frozen=True)
class Offer:
    """What an upstream serves. ``models``: patterns, none for all; ``spaces``: None for every one.

    ``is_own``: its credential is a secret of its one space.
    """

    name: str
    provider: ProviderName
    models: tuple[str, ...] = ()
    spaces: frozenset[str] | None = None
    is_default: bool = False
    is_own: bool = False

    def serves_space(self, space: str | None) -> bool:
        """Whether calls of this space may use it."""
        return self.spaces is None or space in self.spaces


def serving(offers: Iterable[Offer], wire: Wire, model: str | None, space: str | None) -> tuple[Offer, ...]:
    """The upstreams that serve this call best, in no order. ``model`` None: the call names none."""
    fits = [(_distance(offer, wire, model), offer) for offer in open_to(offers, space)]
    nearest = min((distance for distance, _ in fits if distance is not None), default=None)
    found = tuple(offer for distance, offer in fits if distance == nearest and nearest is not None)
    return tuple(offer for offer in found if offer.is_own) or found


def open_to(offers: Iterable[Offer], space: str | None) -> list[Offer]:
    """Those that calls of this space may go to: of a provider that it has a credential of its own for, only that."""
    here = [offer for offer in offers if offer.serves_space(space)]
    own = {offer.provider for offer in here if offer.is_own}
    return [offer for offer in here if offer.is_own or offer.provider not in own]


def serves(offer: Offer, wire: Wire, model: str | None) -> bool:
    """Whether it can serve this call at all."""
    return _distance(offer, wire, model) is not None


def wire_for(offers: Sequence[Offer], model: str) -> Wire:
    """The wire on which these upstreams serve a model best; of two that do alike, that of the model's maker.

    A model that neither provider is known for is asked on OpenAI's wire where there are upstreams: that is what other
    servers of models speak. Where there are none the built-in one answers, in Anthropic's shapes.
    """
    if model.startswith(SCRIPTED):
        return "anthropic"
    nearest = {wire: _nearest(offers, wire, model) for wire in get_args(Wire)}
    if nearest["anthropic"] != nearest["openai"]:
        return "anthropic" if nearest["anthropic"] < nearest["openai"] else "openai"
    made_by = next((maker for maker, patterns in _MADE_BY.items() if _matches(model, patterns)), None)
    return "openai" if made_by == "openai" or (made_by is None and offers) else "anthropic"


def in_order(offers: Sequence[Offer], train_id: str) -> tuple[Offer, ...]:
    """Default ones first, then as the train prefers them."""
    if len(offers) < 2:  # noqa: PLR2004  nothing to order
        return tuple(offers)
    return tuple(sorted(offers, key=lambda offer: (not offer.is_default, _weight(offer.name, train_id))))


def to_try(ordered: Sequence[Offer], cool_until_s: Mapping[str, float], at_s: float) -> tuple[Offer, ...]:
    """Those that are not cooling down; when all are, the one that cools down first: the provider itself answers.

    ``cool_until_s`` is by name, on the clock of ``at_s``.
    """
    if not cool_until_s or not ordered:
        return tuple(ordered)
    ready = tuple(offer for offer in ordered if cool_until_s.get(offer.name, at_s) <= at_s)
    return ready or (min(ordered, key=lambda offer: cool_until_s[offer.name]),)


def _nearest(offers: Iterable[Offer], wire: Wire, model: str) -> int:
    distances = [_distance(offer, wire, model) for offer in offers]
    return min((distance for distance in distances if distance is not None), default=_NOBODY)


def _distance(offer: Offer, wire: Wire, model: str | None) -> int | None:
    """0: made for it; 1: may take it; 2: takes any name, though its own models are others; None: cannot."""
    if offer.provider not in {wire, "custom"}:
        return None
    if model is None:
        return 0 if offer.provider == wire else 1
    if offer.models:
        return 0 if _matches(model, offer.models) else None
    if offer.provider == "custom":
        return 1
    return 0 if _matches(model, _MADE_BY[offer.provider]) else 2


def _matches(model: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def _weight(name: str, train_id: str) -> bytes:
    return hashlib.blake2b(f"{name}\0{train_id}".encode(), digest_size=8).digest()
