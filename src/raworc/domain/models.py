"""Which model an agent asks, and on whose wire. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from raworc.domain.client_keys import allows
from raworc.domain.upstreams import SCRIPTED, Offer, ProviderName, open_to, wire_for
from raworc.domain.wires import Wire

DEFAULT_CLAUDE: Final = "claude-sonnet-5-5"
DEFAULT_GPT: Final = "gpt-6.1-sol"
_CURRENT: Final[tuple[tuple[ProviderName, str], ...]] = (("anthropic", DEFAULT_CLAUDE), ("openai", DEFAULT_GPT))


@dataclass(frozen=True)
class Choice:
    """A model, and the wire that it is asked on."""

    model: str
    wire: Wire


@dataclass(frozen=True)
class Models:
    """What an installation asks where an agent names no model, and the upstreams that its environment names."""

    default: str | None = None
    provided: Sequence[Offer] = ()

    def choice(self, own: str | None, stored: Iterable[Offer]) -> Choice:
        """The model of an agent that names ``own``, or none, while these upstreams are ``stored`` besides."""
        offers = open_to(offered(stored, self.provided), None)
        model = own or self.default or _current(offers)
        return Choice(model, wire_for(offers, model))


def offered(stored: Iterable[Offer], provided: Iterable[Offer]) -> tuple[Offer, ...]:
    """All upstreams: those that are stored, and of the environment's those whose names are free."""
    kept = tuple(stored)
    taken = {offer.name for offer in kept}
    return (*kept, *(offer for offer in provided if offer.name not in taken))


def _current(offers: Sequence[Offer]) -> str:
    """A current model of a provider that an account was set up with, Claude first; without any, the built-in one."""
    for provider, model in _CURRENT:
        if any(offer.provider == provider and allows(offer.models, model) for offer in offers):
            return model
    return SCRIPTED
