"""Asking for passwords: on the terminal without showing them, or by standard input; never as an argument."""

import sys
from typing import Annotated

import typer

from raworc.cli.stop import Stop

PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
"""``*, password_stdin: PasswordStdin = False``"""


def old_password(user: str, *, from_stdin: bool = False) -> str:
    """The password that the account has."""
    return _read(f"Password of '{user}'", from_stdin=from_stdin, twice=False)


def new_password(user: str, *, from_stdin: bool = False) -> str:
    """One that it shall have; asked for twice."""
    return _read(f"New password of '{user}'", from_stdin=from_stdin, twice=True)


def _read(prompt: str, *, from_stdin: bool, twice: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise Stop("there is no terminal to ask for the password: use '--password-stdin'")
    return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True))
