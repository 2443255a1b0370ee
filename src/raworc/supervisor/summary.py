"""What ``raworc up`` prints: one table of where things are and what is enforced, and a line when it stops and has."""

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from raworc.settings import Settings


@dataclass(frozen=True)
class Summary:
    """What is known once everything serves; ``facts`` are what the processes reported."""

    address: str
    settings: Settings
    server_major: int
    facts: Mapping[str, str]
    has_default_password: bool


def show(summary: Summary) -> None:
    """Print it."""
    out = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    rows = _rows(summary)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        out.print(Text.assemble((f"{name:<{width}}  ", "bold"), value))


def say(line: str) -> None:
    """Print one line, where the terminal is still there: its end is one of the reasons to stop."""
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), f"{line}\n".encode())  # nothing stays in a buffer, to fail at our exit


def _rows(summary: Summary) -> list[tuple[str, str]]:
    settings = summary.settings
    where = "as configured" if settings.database_url else "embedded"
    rows = [
        ("Raworc", f"{summary.address}   (stop with Ctrl-C)"),
        ("API", f"{summary.address}/api/v0   to browse and try: {summary.address}/swagger-ui/"),
        ("Gateway", f"{summary.address}/v1   (ANTHROPIC_BASE_URL={summary.address})"),
        ("Database", f"Postgres {summary.server_major}, {where}"),
        *((name.capitalize(), fact) for name, fact in summary.facts.items()),
        ("Home", f"{settings.home}   logs: {settings.logs_dir}"),
    ]
    if summary.has_default_password:
        rows.append(
            ("Login", "admin / admin: only this machine can connect; 'raworc operators password admin' sets another")
        )
    return rows
