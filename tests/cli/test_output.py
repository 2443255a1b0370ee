"""What an agent wrote reaches a terminal as text and as nothing else."""

import io

import pytest
from rich.console import Console

from raworc.cli.output import brief, print_rows, printable
from raworc.cli.transcript import MAX_LINES, Transcript

HOSTILE = {
    "clear the screen": ("\x1b[2J", "\\x1b[2J"),
    "set the title": ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
    "one-byte CSI": ("\x9b31m", "\\x9b31m"),
    "overwrite the line": ("safe\rrm", "safe\\x0drm"),
    "backspace": ("a\x08b", "a\\x08b"),
    "turn the direction": ("a\u202eb", "a\\x202eb"),
    "half a character": ("\ud800", "\\xd800"),
    "NUL": ("\x00", "\\x00"),
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_control_characters_are_shown_and_not_sent(text: str, shown: str):
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["plain", "tab\tand\nline", "grüße 日本語 🙂", "[bold]markup[/bold]"])
def test_text_stays_text(text: str):
    assert printable(text) == text


def test_windows_line_ends_are_line_ends():
    assert printable("a\r\nb") == "a\nb"


def shown(*segments: dict[str, object], live: tuple[str, ...] = (), terminal: bool = False) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=terminal, color_system=None, soft_wrap=True, markup=False, highlight=False
    )
    transcript = Transcript(console)
    for piece in live:
        transcript.delta(piece)
    for segment in segments:
        transcript.segment(segment)
    return stream.getvalue()


CALL = {"type": "tool_call", "tool": "bash", "args": {"command": "echo a\necho b"}}


def result(output: object, *, is_error: bool = False) -> dict[str, object]:
    return {"type": "tool_result", "tool": "bash", "output": output, "is_error": is_error, "duration_ms": 120}


STEPS = {
    "commentary": ({"type": "commentary", "channel": "commentary", "text": "Look:\nthere"}, "Look:\nthere\n"),
    "command": (CALL, "$ echo a\n  echo b\n"),
    "other tool": ({"type": "tool_call", "tool": "read_file", "args": {"path": "a"}}, 'read_file {"path": "a"}\n'),
    "output": (result("a\nb"), "│ a\n│ b\n╰ ok · 0.12 s\n"),
    "no output": (result(""), "╰ ok · 0.12 s\n"),
    "failure": (result("no\n[exit code 1]", is_error=True), "│ no\n│ [exit code 1]\n╰ failed · 0.12 s\n"),
    "note": ({"type": "note", "level": "error", "text": "model gone"}, "· model gone\n"),
    "marker": ({"type": "slept", "note": "good night", "reason": "asked"}, "· slept: good night\n"),
    "markup": ({"type": "final", "text": "[red]x[/red] :smile:"}, "[red]x[/red] :smile:\n"),
    "escape": (result("\x1b[31mred"), "│ \\x1b[31mred\n╰ ok · 0.12 s\n"),
    "newer": ({"type": "newer_kind", "text": "hi"}, "· newer kind: hi\n"),
    "odd": ({}, "· \n"),
}


@pytest.mark.parametrize(("segment", "text"), STEPS.values(), ids=STEPS)
def test_a_step_reads_well(segment: dict[str, object], text: str):
    assert shown(segment) == text


def test_long_output_keeps_its_ends():
    text = shown(result("\n".join(str(n) for n in range(1000))))
    assert len(text.splitlines()) == MAX_LINES + 2
    assert "… 960 more lines …" in text
    assert "│ 999" in text


def test_live_text_is_not_repeated_by_its_segment():
    final = {"type": "final", "text": "hello world"}
    assert shown(final, live=("hello", " wor"), terminal=True).count("hello") == 1
    assert "hello world" in shown(final, live=("hello", " wor"), terminal=True)


def test_live_text_that_was_dropped_is_followed_by_the_true_one():
    text = shown({"type": "final", "text": "second try"}, live=("first t",), terminal=True)
    assert "first t\nsecond try\n" in text


def test_live_text_before_a_command_ends_its_line():
    assert "thinking\n$ echo a\n" in shown(CALL, live=("thinking",), terminal=True)


def test_without_a_terminal_there_is_no_live_text():
    assert shown({"type": "final", "text": "hello"}, live=("hel",)) == "hello\n"


def test_a_table_is_as_wide_as_its_cells(capsys: pytest.CaptureFixture[str]):
    print_rows(("NAME", "X"), [("long-name", "1"), ("b", "two\nlines\x1b")])
    assert capsys.readouterr().out == "NAME       X\nlong-name  1\nb          two lines\\x1b\n"


def test_a_long_description_takes_one_short_cell():
    assert brief(None) == brief(" \n ") == ""
    assert brief("Looks\naround") == "Looks around"
    assert brief("x" * 60) == "x" * 60
    assert brief("word " * 20_000) == "word " * 11 + "word\u2026"
