"""The shell as a person and as a script use it, against a running installation."""

import json
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from raworc.cli.completion import ShellCompleter
from terminal import Shell

SCRIPT = """# what the documents show
/api POST agents {
  "name": "%(name)s",
  "model": "scripted"
}
/agents get %(name)s
raworc status
/api agents?q=%(name)s
/api DELETE agents/%(name)s
/help
/quit
/api agents/never-reached
"""


def test_a_script_is_run_line_by_line(person: Shell):
    said = person.run(typed=SCRIPT % {"name": "scripted-shell"})
    assert '"name": "scripted-shell"' in said
    assert "\nowner  " in said
    assert "\nuser  " in said
    assert '"total": 1' in said
    assert "/api [METHOD] PATH [JSON]" in said
    assert "never-reached" not in said


STOPS = {
    "a refusal": ("/api agents/nobody\n/status\n", 4, "404 Not Found"),
    "a failed command": ("agents get nobody\n/status\n", 1, "'nobody' not found"),
    "no such command": ("bogus\n/status\n", 1, "there is no command 'bogus': '/help' lists them"),
    "usage": ("agents get\n/status\n", 2, "Missing argument"),
    "an open bracket": ('/api agents {"name":\n', 1, "a bracket or a quote is not closed"),
    "itself": ("shell --help\n", 0, "Open the shell"),
    "nothing": ("", 0, ""),
}


@pytest.mark.parametrize(("typed", "code", "text"), STOPS.values(), ids=STOPS)
def test_a_script_ends_with_what_fails_first(person: Shell, typed: str, code: int, text: str):
    said = person.here(typed=typed, code=code)
    assert text in said
    assert "token until" not in said
    assert "Traceback" not in said


def test_a_person_types_and_is_helped(person: Shell, worker: str, history_folder: Path):
    with person.open() as terminal:
        assert "as 'admin'. '/help' lists commands" in terminal.until("raworc>")
        terminal.type("/api POST agents {\r")
        terminal.type('"name": "typed-shell",\r')
        terminal.type('"model": "scripted"}\r')
        terminal.until('"created_by": "admin"')
        terminal.until("raworc>")
        terminal.type("agen\t")
        terminal.until("ts")
        terminal.type(f" get {worker[:-3]}\t")
        terminal.until(worker[-3:])
        terminal.type("\r")
        assert "owner" in terminal.until("idle timeout")
        terminal.until("raworc>")
        terminal.type("agents delete typed-shell\r")
        terminal.until("[y/N]")
        terminal.type("y\n")
        terminal.until("Deleted 'typed-shell'")
        terminal.until("raworc>")
        terminal.type("half a li\x03")
        terminal.until("raworc>")
        terminal.type("login --user nobody --secret-canary\r")
        terminal.until("No such option")
        terminal.until("raworc>")
        terminal.type("\x04")
        assert terminal.ended() == 0
    path = history_folder / "history"
    assert path.stat().st_mode & 0o777 == 0o600
    kept = path.read_text()
    assert f"agents get {worker}" in kept
    assert "canary" not in kept


def test_at_a_terminal_a_failure_is_told_and_the_shell_goes_on(person: Shell, tmp_path: Path):
    nobody = Shell(
        {**person.env, "RAWORC_CREDENTIALS": str(tmp_path / "none.json"), "RAWORC_URL": "http://127.0.0.1:9"}
    )
    with nobody.open() as terminal:
        assert "no server at http://127.0.0.1:9: start one with 'raworc up'" in terminal.until("raworc>")
        terminal.type("agents list\r")
        terminal.until("not logged in: run 'raworc login'")
        terminal.until("raworc>")
        terminal.type("/quit\r")
        assert terminal.ended() == 0


OFFERED = {
    "commands": ("ag", {"agents"}),
    "with a slash": ("/sta", {"/status"}),
    "own words": ("/qu", {"/quit"}),
    "subcommands": ("agents cr", {"create"}),
    "options": ("agents list --st", {"--state"}),
    "help": ("help che", set()),
    "methods": ("/api pu", {"PUT"}),
    "a path": ("/api GET agents/{worker}/resp", {"responses"}),
    "a path from the root": ("/api /api/v0/oper", {"operators"}),
    "an agent in a path": ("/api agents/{half}", {"{worker}"}),
    "an agent": ("agents get {half}", {"{worker}"}),
    "someone to talk to": ("/chat {half}", {"{worker}"}),
    "nothing behind it": ("agents get {worker} {half}", set()),
    "no command": ("bogus x", set()),
    "in the JSON": ("/api POST agents {{", set()),
}


@pytest.fixture(scope="module")
def completer(person: Shell) -> ShellCompleter:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAWORC_CREDENTIALS", person.env["RAWORC_CREDENTIALS"])
        yield ShellCompleter()


def test_tab_offers_what_may_stand_there(completer: ShellCompleter, worker: str):
    for typed, offers in OFFERED.values():
        names = {"worker": worker, "half": worker[:-4]}
        document = Document(typed.format(**names))
        offered = {item.text for item in completer.get_completions(document, CompleteEvent())}
        assert offered >= {text.format(**names) for text in offers}, typed
        assert offers or not offered, typed


def test_without_a_server_tab_offers_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAWORC_CREDENTIALS", str(tmp_path / "none.json"))
    monkeypatch.setenv("RAWORC_URL", "http://127.0.0.1:9")
    offered = ShellCompleter().get_completions
    assert [item.text for item in offered(Document("doc"), CompleteEvent())] == ["doctor"]
    assert list(offered(Document("agents get x"), CompleteEvent())) == []
    assert [item.text for item in offered(Document("/api po"), CompleteEvent())] == ["POST"]


WORK = "```bash\necho $((6 * 7))\n```"


def test_a_conversation_comes_from_a_pipe(person: Shell, worker: str):
    said = person.here("chat", worker, typed=f"hello\n{WORK}\n/quit\nnot sent\n")
    assert "You said: hello" in said
    assert "│ 42\n╰ ok" in said
    assert said.count("completed in") == 2
    failing = 'x\n```fault\n{"status": 400, "times": 99}\n```\n'
    assert "the rest was not sent" in person.here("chat", worker, typed=failing.partition("\n")[2] + "more\n", code=1)
    assert "not found" in person.here("chat", "nobody", code=1)


def test_a_conversation_at_a_terminal(person: Shell, worker: str):
    with person.open("chat", worker) as terminal:
        terminal.until("Ctrl-D leaves")
        terminal.until(f"{worker}>")
        terminal.type("```bash\recho started; sleep 50\r```\r")
        terminal.until("$ echo started; sleep 50")
        terminal.interrupt()
        terminal.until("cancelled")
        terminal.until(f"{worker}>")
        terminal.type("still there?\r")
        terminal.until("You said: still there?")
        terminal.until(f"{worker}>")
        terminal.type("\x04")
        assert terminal.ended() == 0
    log = [json.loads(line) for line in person.here("agents", "log", worker, "--json").splitlines()]
    assert [item["status"] for item in log] == ["cancelled", "completed"]
