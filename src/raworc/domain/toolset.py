"""Which tools an agent has, read from its list ``tools``.

A bare string and ``{"type": "builtin", "name"}`` name a built-in tool; once one is named, only the named ones are
there, so a misspelt name takes tools away and never gives one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

SEARCH_KNOWLEDGE: Final = "search_knowledge"
BUILTINS: Final = (
    "bash",
    "read_file",
    "write_file",
    "edit_file",
    "list_files",
    "search_files",
    SEARCH_KNOWLEDGE,
    "output",
)
_SHOWN_CHARACTERS: Final = 80


@dataclass(frozen=True)
class Toolset:
    """The built-in tools that are offered, and what people should know about entries that mean nothing."""

    builtins: tuple[str, ...] = BUILTINS
    remarks: tuple[str, ...] = ()


def toolset(entries: Sequence[Any], *, knows: bool = True) -> Toolset:
    """What ``entries`` say of an agent that ``knows`` something, or has nothing to search."""
    named: set[str] = set()
    remarks: list[str] = []
    narrowed = False
    for number, entry in enumerate(entries):
        match entry:
            case str(name) | {"type": "builtin", "name": str(name)}:
                narrowed = True
                named.add(name)
                if name not in BUILTINS:
                    remarks.append(f"'tools.{number}' is ignored: there is no built-in tool '{_short(name)}'")
            case {"type": "builtin"}:
                narrowed = True
                remarks.append(f"'tools.{number}' is ignored: it has no 'name'")
            case {"type": str(kind)}:
                remarks.append(f"'tools.{number}' is ignored: its type '{_short(kind)}' is not known")
            case _:
                remarks.append(f"'tools.{number}' is ignored: it is neither a name nor an object with a 'type'")
    there = tuple(name for name in BUILTINS if knows or name != SEARCH_KNOWLEDGE)
    builtins = tuple(name for name in there if name in named) if narrowed else there
    return Toolset(builtins, tuple(remarks))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
