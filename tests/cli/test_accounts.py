"""Accounts, tokens and the blocklist by the command line, run in this process: a start of Python takes a second."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from raworc.cli.main import run
from stack import Stack

Cli = Callable[..., str]


@pytest.fixture
def cli(
    steady_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Run a command as the one whose token is given, else as the administrator; what it printed."""
    with steady_stack.client() as client:
        admin = str(client._transport.token)
    monkeypatch.setenv("RAWORC_CREDENTIALS", str(tmp_path / "credentials.json"))
    monkeypatch.setenv("RAWORC_URL", steady_stack.url)

    def command(*arguments: str, typed: str = "", code: int = 0, token: str = admin) -> str:
        monkeypatch.setenv("RAWORC_TOKEN", token)
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        ended = run(arguments)
        out, err = capsys.readouterr()
        assert ended == code, out + err
        return out + err

    return command


def test_accounts_are_looked_after_without_a_password_in_sight(cli: Cli):
    name = "carl.cli"
    made = cli("operators", "create", name, "--role", "user", "--password-stdin", typed="a-good-password\n")
    assert name in made
    assert "a-good-password" not in made
    assert name in cli("operators", "list")
    assert json.loads(cli("operators", "get", name, "--json"))["role"] == "user"
    carl = cli("tokens", "create", name).splitlines()[0]
    assert [item["user"] for item in json.loads(cli("operators", "list", "--json", token=carl))] == [name]
    assert "may not" in cli("blocklist", "block", "admin", code=1, token=carl)
    cli("blocklist", "block", name)
    assert name in cli("blocklist", "list")
    cli("operators", "list", code=1, token=carl)
    cli("blocklist", "unblock", name)
    assert name not in cli("blocklist", "list")
    both = "another-password\na-good-password\n"
    assert "Log in again" in cli("operators", "password", name, "--password-stdin", typed=both, token=carl)
    assert "run 'raworc login'" in cli("operators", "list", code=1, token=carl)
    assert json.loads(cli("operators", "update", name, "--inactive", "--json"))["active"] is False
    assert "nothing to change" in cli("operators", "update", name, code=1).lower()
    cli("operators", "delete", name, "--yes")
    assert "not found" in cli("operators", "get", name, code=1)


@pytest.mark.parametrize("command", [("create", "x-cli"), ("password", "x-cli")])
def test_without_a_terminal_a_password_comes_by_standard_input(cli: Cli, command: tuple[str, ...]):
    assert "use '--password-stdin'" in cli("operators", *command, code=1)
