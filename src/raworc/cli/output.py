"""What commands print. Text that an agent or a server wrote is hostile: it never controls the terminal."""

import re
import sys
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.text import Text

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 but tab and newline: escape sequences start there
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of what follows
    "\ud800-\udfff]"  # halves of characters, which no terminal can be sent
)

_BRIEF = 60


def console(*, to_stderr: bool = False) -> Console:
    """A console that wraps nothing and colours only what it is told to."""
    return Console(stderr=to_stderr, highlight=False, soft_wrap=True, emoji=False, markup=False)


def printable(text: str) -> str:
    """The same text with everything that could move a cursor or hide a character shown as an escape."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\r\n", "\n"))


def brief(text: str | None) -> str:
    """The beginning of a description, for one cell of a table."""
    line = " ".join((text or "")[: 4 * _BRIEF].split())
    return line if len(line) <= _BRIEF else line[: _BRIEF - 1].rstrip() + "\u2026"


def print_json(value: object) -> None:
    """One line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def print_bytes(content: bytes) -> None:
    """A file's bytes; at a terminal as text, because an agent's bytes never control a person's terminal."""
    if sys.stdout.isatty():
        console().print(Text(printable(content.decode(errors="replace"))))
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def print_rows(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table: as wide as its cells, with a bold head."""
    shown = [tuple(printable(cell).replace("\n", " ") for cell in row) for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(heads, *shown, strict=True)]
    out = console()
    out.print(Text(_line(heads, widths), style="bold"))
    for row in shown:
        out.print(Text(_line(row, widths)))


def print_fields(pairs: list[tuple[str, str]]) -> None:
    """One ``name  value`` a line."""
    width = max(len(name) for name, _ in pairs)
    out = console()
    for name, value in pairs:
        out.print(Text.assemble((f"{name:<{width}}  ", "dim"), printable(value)))


def moment(value: datetime | None) -> str:
    """A time to the second, in UTC; ``-`` for none."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value else "-"


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
