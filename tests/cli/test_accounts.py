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


def test_an_agents_own_token_shows_that_agent_and_no_other(cli: Cli):
    for name in ("own-cli", "other-cli"):
        cli("agents", "create", name)
    own = cli("agents", "token", "own-cli", "--ttl-hours", "1").splitlines()
    whole = json.loads(cli("agents", "token", "own-cli", "--json"))

    assert own[1].startswith("speaks for the agent 'own-cli' until ")
    for token in (own[0], whole["token"]):
        assert json.loads(cli("agents", "get", "own-cli", "--json", token=token))["name"] == "own-cli"
        cli("agents", "get", "other-cli", code=1, token=token)
        assert "An agent's own token" in cli("agents", "list", code=1, token=token)


def test_keys_are_made_listed_and_revoked(cli: Cli):
    made = json.loads(cli("keys", "create", "for-cli", "--train-id", "a.train", "--model", "scripted*", "--json"))
    assert cli("keys", "create", "other-cli").startswith("rwk_")
    listed = cli("keys", "list")
    assert made["id"] in listed
    assert made["key"] not in listed
    cli("keys", "delete", made["id"])
    assert made["id"] not in {item["id"] for item in json.loads(cli("keys", "list", "--json"))}
    assert "not found" in cli("keys", "delete", made["id"], code=1)


def test_spaces_accounts_roles_and_bindings_are_looked_after(cli: Cli):
    cli("spaces", "create", "lab", "--description", "for tests")
    assert "for tests" in cli("spaces", "list")
    assert json.loads(cli("spaces", "update", "lab", "--description", "d", "--json"))["description"] == "d"
    made = cli("accounts", "create", "lena", "--space", "lab", "--password-stdin", typed="a-good-password\n")
    assert "lena" in made
    assert "a-good-password" not in made
    cli("roles", "create", "looker", "--rule", "agents,sessions:read,list", "--rule", "spaces:read:global")
    assert "agents,sessions:read,list  spaces:read:global" in cli("roles", "get", "looker")
    assert "a rule is" in cli("roles", "create", "odd", "--rule", "agents", code=1)
    assert "looker" in cli("roles", "list")
    binding = json.loads(cli("bindings", "create", "lena", "looker", "--space", "lab", "--json"))
    assert (binding["subject"], binding["role_ref"], binding["space"]) == ("lena", "looker", "lab")
    assert "lena" in cli("bindings", "get", binding["id"])
    lena = cli("tokens", "create", "lena").splitlines()[0]
    assert json.loads(cli("spaces", "get", "lab", "--json", token=lena))["name"] == "lab"
    assert "may not" in cli("spaces", "delete", "lab", "--yes", code=1, token=lena)
    assert "is bound" in cli("roles", "delete", "looker", code=1)
    assert binding["id"] in cli("bindings", "list")
    cli("bindings", "delete", binding["id"])
    assert "not found" in cli("spaces", "get", "lab", code=1, token=lena)
    cli("roles", "delete", "looker")
    assert "in use (1 accounts)" in cli("spaces", "delete", "lab", "--yes", code=1)
    both = "a-good-password\nanother-password\n"
    assert "is set" in cli("accounts", "password", "lena", "--password-stdin", typed=both)
    assert json.loads(cli("accounts", "update", "lena", "--inactive", "--json"))["active"] is False
    assert "lena" in cli("accounts", "list")
    cli("accounts", "delete", "lena", "--yes")
    cli("spaces", "delete", "lab", "--yes")
    assert "not found" in cli("spaces", "get", "lab", code=1)


def test_secrets_of_a_space_are_shown_when_asked_for_and_the_log_knows(cli: Cli):
    cli("spaces", "create", "vault")
    made = cli("secrets", "create", "vault", "TOKEN", "--value-stdin", typed="canary-value\n")
    assert "canary" not in made
    assert "canary" not in cli("secrets", "list", "vault")
    assert "canary-value" in cli("secrets", "list", "vault", "--show-values")
    cli("secrets", "update", "vault", "TOKEN", "--value-stdin", typed="another-value")
    assert cli("secrets", "get", "vault", "TOKEN") == "another-value\n"
    told = json.loads(cli("audit", "list", "--space", "vault", "--verb", "read-values", "--json"))["entries"]
    assert [entry["details"] for entry in told] == [{"keys": ["TOKEN"]}] * 2
    assert "read-values" in cli("audit", "list", "--space", "vault")
    cli("secrets", "delete", "vault", "TOKEN")
    assert "not found" in cli("secrets", "get", "vault", "TOKEN", code=1)
    cli("spaces", "delete", "vault", "--yes")


def test_the_audit_log_is_examined_while_everything_runs(cli: Cli, steady_stack: Stack):
    home = ("--home", str(steady_stack.settings.home), "--database-url", str(steady_stack.settings.database_url))
    head = cli("audit", "verify", *home).splitlines()[-1]
    assert len(head) == 64
    assert "as it was written" in cli("audit", "verify", "--noted", head, *home)
    assert "not in the chain" in cli("audit", "verify", "--noted", "0" * 64, *home, code=1)
    assert "64 hexadecimal digits" in cli("audit", "verify", "--noted", "zz", *home, code=1)
