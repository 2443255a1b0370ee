"""Code agents and builds by the command line, with operators that build them."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from building import PYTHON, repository
from raworc.cli.main import run
from stack import Stack

Cli = Callable[..., str]
SPACE = "cli-built"


@pytest.fixture
def cli(
    steady_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Run a command as the administrator; what it printed."""
    with steady_stack.client() as client:
        monkeypatch.setenv("RAWORC_TOKEN", str(client._transport.token))
    monkeypatch.setenv("RAWORC_CREDENTIALS", str(tmp_path / "credentials.json"))
    monkeypatch.setenv("RAWORC_URL", steady_stack.url)

    def command(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(""))
        ended = run(arguments)
        out, err = capsys.readouterr()
        assert ended == code, out + err
        return out + err

    return command


def test_an_agent_is_made_built_and_looked_after(cli: Cli, steady_stack: Stack, tmp_path: Path):
    cli("spaces", "create", SPACE)
    assert "never built" in cli("builds", "latest", SPACE, code=1)
    repo = "file://" + str(repository(tmp_path / "good", PYTHON))
    assert repo in cli("code-agents", "create", SPACE, "greeter", repo, "--purpose", "greets\x1b[2J")
    built = cli("builds", "latest", SPACE, "--follow")
    assert "── greeter" in built
    assert "Build completed successfully: 1 agents" in built
    build = json.loads(cli("builds", "latest", SPACE, "--json"))
    assert build["status"] == "completed"
    assert build["id"] in cli("builds", "get", SPACE, build["id"])
    assert "greets\\x1b[2J" in cli("code-agents", "list", SPACE)

    cli("code-agents", "deploy", SPACE, "greeter")
    assert "greeter" in cli("code-agents", "running", SPACE)
    cli("code-agents", "stop", SPACE, "greeter")
    assert json.loads(cli("code-agents", "running", SPACE, "--json")) == []
    assert json.loads(cli("code-agents", "logs", SPACE, "greeter", "--json")) == {"logs": []}

    changed = cli(
        "code-agents", "update", SPACE, "greeter", "--repo", f"file://{repository(tmp_path / 'bad', {'x': ''})}"
    )
    assert "bad" in changed
    assert "failed" in cli("builds", "start", SPACE, "--follow", code=1)
    assert json.loads(cli("code-agents", "deactivate", SPACE, "greeter", "--json"))["status"] == "inactive"
    assert "active" in cli("code-agents", "activate", SPACE, "greeter")
    cli("code-agents", "delete", SPACE, "greeter", "--yes")
    assert "not found" in cli("code-agents", "get", SPACE, "greeter", code=1)
