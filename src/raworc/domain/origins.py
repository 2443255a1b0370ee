"""Whose pages a browser lets use the API: those of the origins that the operator of a server names, none by default."""

import re
from dataclasses import dataclass
from typing import Final, Self

from raworc.errors import BadRequest

ANY: Final = "*"
_ORIGIN: Final = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Origins:
    """Origins as browsers write them (``https://app.example:8443``), or :data:`ANY`."""

    allowed: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Self:
        """From origins with commas between them.

        Raises:
            BadRequest: one of them is none.
        """
        found = frozenset(item.strip().lower() for item in text.split(",") if item.strip())
        for origin in sorted(found - {ANY}):
            if not _ORIGIN.fullmatch(origin):
                raise BadRequest(f"'{origin}' is no origin: write it like 'https://app.example:8443', without a path")
        return cls(found)
