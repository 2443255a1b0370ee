"""A turn as a person reads it: commentary, commands, their output, the answer. Used live and for the past."""

import json
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from raworc.cli.output import printable

MAX_LINES = 40
"""Lines of one command or output that are shown unless all are asked for."""

_SAID = {"commentary", "final"}


class Transcript:
    """Prints segments to a console in order, and text of a running model call as it comes.

    ``all_lines`` shows long commands and outputs whole.
    """

    def __init__(self, console: Console, *, all_lines: bool = False) -> None:
        self._console = console
        self._max_lines = None if all_lines else MAX_LINES
        self._live = ""

    def asked(self, text: str) -> None:
        """What the agent was given."""
        for line in printable(text).split("\n"):
            self._line((line, "bold"), head=("> ", "bold blue"))

    def delta(self, text: str) -> None:
        """A piece of text that a segment will repeat whole. Shown only where a person watches."""
        if not self._console.is_terminal:
            return
        self._live += text
        self._console.print(Text(printable(text)), end="")

    def segment(self, segment: dict[str, Any]) -> None:
        """One step."""
        live, self._live = self._live, ""
        kind = str(segment.get("type", ""))
        text = str(segment.get("text") or "")
        if live:
            self._finish(live, text if kind in _SAID else "")
            if kind in _SAID and text.startswith(live):
                return
        match kind:
            case "commentary":
                self._said(text, "italic" if segment.get("channel") == "analysis" else "")
            case "final":
                self._said(text, "green")
            case "tool_call":
                self._called(str(segment.get("tool", "")), segment.get("args"))
            case "tool_result":
                self._answered(segment)
            case "context_compacted":
                self._marked(kind, {"text": f"the history starts with this now\n{segment.get('summary', '')}"})
            case _:
                self._marked(kind, segment)

    def _finish(self, live: str, text: str) -> None:
        rest = text[len(live) :] if text.startswith(live) else ""
        self._console.print(Text(printable(rest)))

    def _said(self, text: str, style: str) -> None:
        for line in printable(text).split("\n"):
            self._line((line, style))

    def _called(self, tool: str, args: object) -> None:
        command = args.get("command") if isinstance(args, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        if isinstance(command, str):
            head, lines = "$ ", printable(command).split("\n")
        else:
            head, lines = f"{printable(tool)} ", [printable(json.dumps(args, ensure_ascii=False))]
        for line in self._cut(lines):
            self._line((line, "cyan"), head=(head, "bold cyan"))
            head = " " * len(head)

    def _answered(self, segment: dict[str, Any]) -> None:
        failed = bool(segment.get("is_error"))
        edge = ("│ ", "red" if failed else "dim")
        output = segment.get("output")
        text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
        for line in self._cut(printable(text).split("\n")) if text else []:
            self._line((line, "dim"), head=edge)
        took = segment.get("duration_ms")
        parts = ["failed" if failed else "ok", f"{took / 1000:.2f} s" if isinstance(took, int | float) else ""]
        self._line((" · ".join(part for part in parts if part), edge[1]), head=("╰ ", edge[1]))

    def _marked(self, kind: str, segment: dict[str, Any]) -> None:
        text = segment.get("text") or segment.get("note") or segment.get("reason") or ""
        style = "red" if segment.get("level") == "error" else "yellow"
        name = "" if kind == "note" else kind.replace("_", " ")
        self._line((printable(": ".join(part for part in (name, str(text)) if part)), style), head=("· ", style))

    def _cut(self, lines: list[str]) -> list[str]:
        if self._max_lines is None or len(lines) <= self._max_lines:
            return lines
        half = self._max_lines // 2
        return [*lines[:half], f"… {len(lines) - 2 * half} more lines …", *lines[-half:]]

    def _line(self, *parts: tuple[str, str], head: tuple[str, str] = ("", "")) -> None:
        self._console.print(Text.assemble(head, *parts))


Tone = Literal["green", "red", "yellow"]
TONES: dict[str, Tone] = {"completed": "green", "failed": "red", "cancelled": "yellow"}
"""The colour of an outcome."""
