"""What is set in the environment of a sandbox: secrets, and over them how to reach models. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from raworc.domain.upstreams import ProviderName
from raworc.errors import Unavailable

CREDENTIALS: Final[Mapping[str, ProviderName]] = {"ANTHROPIC_API_KEY": "anthropic", "OPENAI_API_KEY": "openai"}
"""Secrets of a space that its model calls are made with; they never enter a sandbox while the gateway is on."""
GATEWAY: Final = "gateway"
OFF: Final = "off"
MAX_BYTES: Final = 1_572_864
"""Of all names and values together: the kernel starts no process with more than 2 MiB of them and its arguments."""
_BETWEEN: Final = len(b"=\0")


@dataclass(frozen=True)
class Given:
    """The secrets that a session's sandbox is given. ``is_off``: its space wants no gateway variables in their way."""

    space: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    agent: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    is_off: bool = False

    @property
    def secrets(self) -> dict[str, str]:
        """An agent's own win over those of its space."""
        return {**self.space, **self.agent}


def is_off(settings: Mapping[str, object]) -> bool:
    """Whether a space's settings say ``{"gateway": "off"}``."""
    return settings.get(GATEWAY) == OFF


def environment(
    given: Given, gateway: Mapping[ProviderName, Mapping[str, str]], place: Mapping[str, str]
) -> dict[str, str]:
    """Variables of a sandbox. ``gateway``: how each provider is reached through it; ``place``: what this place is.

    Secrets never take the place of either. Where the space turned the gateway off, a provider that a secret says
    something about is reached as the secrets say, and only so: half an address of ours would help nobody.

    Raises:
        Unavailable: more than a process can be started with; the message says what to do.
    """
    secrets = given.secrets
    ours: dict[str, str] = {}
    for variables in gateway.values():
        if not (given.is_off and variables.keys() & secrets.keys()):
            ours |= variables
    made = {**secrets, **ours, **place}
    size_bytes = sum(len(f"{name}{value}".encode()) + _BETWEEN for name, value in made.items())
    if size_bytes > MAX_BYTES:
        raise Unavailable(
            f"The secrets of the agent and its space have {size_bytes} bytes together, a sandbox takes {MAX_BYTES}:"
            " remove some, or make them shorter"
        )
    return made
