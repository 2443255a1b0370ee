"""The ``raworc>`` shell: every command without ``raworc`` before it, with history and completion.

Where standard input is no terminal it reads commands line by line and ends with the first that fails.
"""

import subprocess
import sys

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import ThreadedCompleter

from raworc import __version__
from raworc.cli.completion import ShellCompleter
from raworc.cli.history import PrivateHistory
from raworc.cli.keys import multiline_keys
from raworc.cli.lines import commands_of, is_complete, words_of
from raworc.cli.login import facts_and_problem
from raworc.cli.main import COMMANDS, PROGRAMS, run
from raworc.cli.output import printable
from raworc.cli.stop import FAILED
from raworc.settings import read_client_settings

PROMPT = "raworc> "
_OWN = {
    "/api [METHOD] PATH [JSON]": "A request of the documented API: GET, or POST with JSON.",
    "/status": "Show which server answers, and as whom.",
    "/help [COMMAND]": "This, or what a command takes.",
    "/quit": "Leave, as Ctrl-D does.",
}


class Leave(Exception):
    """``/quit``."""


def shell() -> None:
    """Open the shell, which is what ``raworc`` alone does. A script on standard input ends with what fails first."""
    try:
        code = _at_terminal() if sys.stdin.isatty() else _script()
    except Leave:
        return
    raise typer.Exit(code)


def execute(command: str) -> int:
    """Run what was typed; its exit code. Raises Leave."""
    try:
        words = words_of(command)
    except ValueError:
        return _refuse("a bracket or a quote is not closed")
    match words:
        case ["quit" | "exit"]:
            raise Leave
        case ["help"]:
            return _help()
        case ["help", *rest]:
            return run([*rest, "--help"])
        case [name, *_] if name in PROGRAMS:  # it would take the shell's place
            return subprocess.call([sys.executable, "-m", "raworc", *words])  # noqa: S603  our own command
        case [name, *_]:
            return run(words) if name in COMMANDS else _unknown(name)
        case _:
            return 0


def _help() -> int:
    width = max(map(len, _OWN))
    for name, summary in _OWN.items():
        typer.echo(f"{name:<{width}}  {summary}")
    typer.echo("\nEvery command of 'raworc' works here, with or without a slash:")
    for name, (_, summary) in COMMANDS.items():
        if f"/{name}" not in {own.partition(" ")[0] for own in _OWN}:
            typer.echo(f"{name:<{width}}  {summary}")
    return 0


def _unknown(name: str) -> int:
    return _refuse(f"there is no command '{printable(name)}': '/help' lists them")


def _script() -> int:
    for command in commands_of(line.decode(errors="replace").rstrip("\r\n") for line in sys.stdin.buffer):
        code = execute(command)
        sys.stdout.flush()
        if code:
            return code
    return 0


def _at_terminal() -> int:
    _greet()
    session = PromptSession[str](
        history=PrivateHistory(read_client_settings().history),
        completer=ThreadedCompleter(ShellCompleter()),
        complete_while_typing=False,
        multiline=True,
        key_bindings=multiline_keys(is_complete),
    )
    while True:
        try:
            text = session.prompt(PROMPT)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return 0
        for command in commands_of(text.split("\n")):
            if execute(command):
                break


def _greet() -> None:
    facts, problem = facts_and_problem()
    whom = f" as '{facts['user']}'" if "user" in facts else ""
    typer.echo(
        f"Raworc {__version__} at {facts['server']}{whom}. '/help' lists commands, Tab completes, '/quit' leaves."
    )
    if problem:
        typer.secho(problem, fg="yellow", err=True)


def _refuse(message: str) -> int:
    typer.secho(message, fg="red", err=True)
    return FAILED
