"""Runs scripts/demo in a terminal and draws what it printed: docs/demo.svg.

usage: .venv/bin/python scripts/capture.py
"""

import os
import pty
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 108
TARGET = ROOT / "docs" / "demo.svg"


def main() -> int:
    """Draw one run; the demo's exit code when it failed."""
    os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", COLUMNS=str(COLUMNS), LINES="60")
    printed = bytearray()

    def keep(descriptor: int) -> bytes:
        data = os.read(descriptor, 65536)
        printed.extend(data)
        return data

    status = os.waitstatus_to_exitcode(pty.spawn([str(ROOT / "scripts" / "demo")], keep, lambda _: b""))
    if status == 0:
        TARGET.write_text(drawn(printed.decode(errors="replace")), encoding="utf-8")
        print(f"capture: wrote {TARGET.relative_to(ROOT)}")
    return status


def drawn(printed: str) -> str:
    """The same text as a picture that loads nothing from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123  closed at exit
    console.print(Text.from_ansi(printed.replace("\r\n", "\n").strip()))
    svg = console.export_svg(title="scripts/demo")
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    sys.exit(main())
