"""What a probe found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One probe: its name, and how far it got (None when it got nowhere)."""

    name: str
    escape: str | None = None
