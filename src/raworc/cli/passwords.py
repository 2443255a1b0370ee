"""Asking for passwords and secrets: on the terminal, without showing them, or by standard input; never as arguments."""

import sys
from typing import Annotated

import typer

from raworc.cli.stop import Stop

PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
"""``*, password_stdin: PasswordStdin = False``"""
ValueStdin = Annotated[bool, typer.Option("--value-stdin", help="Read the value from standard input, all of it.")]
"""``*, value_stdin: ValueStdin = False``"""


def old_password(user: str, *, from_stdin: bool = False) -> str:
    """The password that the account has."""
    return _read(f"Password of '{user}'", from_stdin=from_stdin, twice=False)


def new_password(user: str, *, from_stdin: bool = False) -> str:
    """One that it shall have; asked for twice."""
    return _read(f"New password of '{user}'", from_stdin=from_stdin, twice=True)


def secret_value(key: str, *, from_stdin: bool) -> str:
    """The value of a secret; from standard input all of it, without the last newline."""
    if from_stdin:
        return sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise Stop("there is no terminal to ask for the value: use '--value-stdin'")
    return str(typer.prompt(f"Value of '{key}'", hide_input=True, err=True))


def _read(prompt: str, *, from_stdin: bool, twice: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise Stop("there is no terminal to ask for the password: use '--password-stdin'")
    return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True))
