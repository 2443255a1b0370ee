"""What a remix takes from its parent, and what it may not."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Parts:
    """The parts of an agent that a remix may do without. Instructions, setup and the like belong to its code."""

    code: bool = True
    secrets: bool = True


@dataclass(frozen=True)
class Offer:
    """What the publisher lets go: ``permissions`` as published; secrets only where he named them."""

    permissions: Mapping[str, bool]
    offers_secrets: bool


def refused(wished: Parts, offer: Offer) -> str | None:
    """The part that a remix by another account asks for and may not have; None when it may have all.

    Content always comes along, so what is published without its content cannot be remixed.
    """
    wishes = {"content": True, "code": wished.code, "secrets": wished.secrets}
    return next((part for part, wish in wishes.items() if wish and not offer.permissions.get(part, False)), None)


def taken(wished: Parts, offer: Offer) -> Parts:
    """What comes along where nothing is refused: secrets by the publisher's own word, not by the default."""
    return Parts(code=wished.code, secrets=wished.secrets and offer.offers_secrets)
