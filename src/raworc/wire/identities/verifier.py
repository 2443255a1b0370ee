"""What proves who somebody is: a token of a configured identity provider, and how that can fail."""

from typing import Final, Protocol

from raworc.domain.identities import Identity

MAX_TOKEN_BYTES: Final = 16_384


class Rejected(Exception):
    """The token proves nothing. ``str()`` says why, in words of ours: for the audit, never for who sent it."""


class ProviderAway(Exception):
    """The provider could not be asked, or did not answer as one; nothing is known about the token."""


class Verifier(Protocol):
    """Proves tokens of one provider. Safe to use from many requests of one event loop at once."""

    async def verify(self, token: str) -> Identity:
        """Whom the token is about.

        Raises:
            Rejected: it is not the provider's, not for us, or does not count now.
            ProviderAway: the provider has to be asked and does not answer.
        """
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...


def check_size(token: str) -> str:
    """``token`` itself, when it can be one: printable ASCII of at most 16 KiB."""
    if not 0 < len(token) <= MAX_TOKEN_BYTES or not token.isascii() or not token.isprintable() or " " in token:
        raise Rejected("no token: empty, too long, or not printable")
    return token
