"""``raworc claude``, ``codex`` and ``env`` with programs that say what they were given."""

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anthropic
import pytest

from raworc.cli.program_trust import VARIABLES
from stack import Stack
from terminal import Shell

TELL = f"""#!{sys.executable}
import json, os, signal, sys
print(json.dumps({{"arguments": sys.argv[1:], "environ": dict(os.environ)}}), flush=True)
if "wait" in sys.argv:
    signal.pause()
sys.exit(7)
"""


@pytest.fixture
def user(person: Shell, tmp_path: Path) -> Shell:
    """A person with a login, no keys yet, and programs on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("claude", "codex"):
        (folder / name).write_text(TELL)
        (folder / name).chmod(0o755)
    kept = tmp_path / "credentials.json"
    shutil.copy(person.env["RAWORC_CREDENTIALS"], kept)
    return Shell({"PATH": f"{folder}:{os.environ['PATH']}", "RAWORC_CREDENTIALS": str(kept)})


def told(user: Shell, *arguments: str, **environ: str) -> tuple[list[str], dict[str, str]]:
    said = json.loads(Shell({**user.env, **environ}).run(*arguments, code=7))
    return said["arguments"], said["environ"]


def names(stack: Stack) -> dict[str, tuple[str, str | None]]:
    """Space and train of the keys, by what they begin with."""
    with stack.client() as client:
        return {key.prefix: (key.space, key.train_id) for key in client.keys.list(limit=100)}


def test_claude_gets_a_key_of_its_own_and_nothing_of_ours(user: Shell, steady_stack: Stack) -> None:
    spoils = {
        "ANTHROPIC_API_KEY": "sk-ant-theirs",
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "RAWORC_MASTER_KEY": "m",
        "MINE": "1",
    }
    arguments, environ = told(user, "claude", "--train", "docs", "-p", "say hi", "--train", "theirs", **spoils)
    assert arguments == ["-p", "say hi", "--train", "theirs"]
    assert (environ["ANTHROPIC_BASE_URL"], environ["MINE"]) == (steady_stack.url, "1")
    assert not environ.keys() & {"ANTHROPIC_API_KEY", "CLAUDE_CODE_USE_BEDROCK", "RAWORC_MASTER_KEY"}
    key = environ["ANTHROPIC_AUTH_TOKEN"]
    assert names(steady_stack)[key[:12]] == ("default", "docs")
    client = anthropic.Anthropic(base_url=environ["ANTHROPIC_BASE_URL"], auth_token=key, max_retries=0)
    said = client.messages.create(model="scripted", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    assert said.content[0].text == "You said: hi"


def test_a_key_is_used_again_while_it_is_good(user: Shell, steady_stack: Stack) -> None:
    with ThreadPoolExecutor() as pool:  # started at the same time, they share one
        keys = {environ["ANTHROPIC_AUTH_TOKEN"] for _, environ in pool.map(lambda _: told(user, "claude"), range(2))}
    assert len(keys) == 1
    kept = Path(user.env["RAWORC_CREDENTIALS"]).with_name("program-keys.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    with steady_stack.client() as client:
        client.keys.delete(json.loads(kept.read_bytes())[0]["id"])
    assert told(user, "claude")[1]["ANTHROPIC_AUTH_TOKEN"] not in keys


def test_claude_may_keep_its_own_login(user: Shell, steady_stack: Stack) -> None:
    given = {"ANTHROPIC_CUSTOM_HEADERS": "x-mine: 1", "ANTHROPIC_API_KEY": "sk-ant-own"}
    _, environ = told(user, "claude", "--own-login", "--train", "docs", **given)
    assert environ["ANTHROPIC_BASE_URL"] == steady_stack.url
    assert environ["ANTHROPIC_API_KEY"] == "sk-ant-own"
    assert environ["ANTHROPIC_CUSTOM_HEADERS"] == "x-mine: 1\nMSL-Train-Id: docs"
    assert "ANTHROPIC_AUTH_TOKEN" not in environ
    assert not Path(user.env["RAWORC_CREDENTIALS"]).with_name("program-keys.json").exists()


def test_codex_is_told_by_options(user: Shell, steady_stack: Stack) -> None:
    arguments, environ = told(user, "codex", "exec", "--json", "hi")
    assert arguments[-3:] == ["exec", "--json", "hi"]
    assert set(arguments[:-3:2]) == {"-c"}
    assert arguments[1:-3:2] == [
        'model_provider="raworc"',
        'model_providers.raworc.name="Raworc"',
        f'model_providers.raworc.base_url="{steady_stack.url}/v1"',
        'model_providers.raworc.env_key="RAWORC_CODEX_KEY"',
        'model_providers.raworc.wire_api="responses"',
    ]
    assert environ["RAWORC_CODEX_KEY"][:12] in names(steady_stack)


def test_a_signal_ends_the_program_itself(user: Shell) -> None:
    process = user.start("claude", "wait")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["arguments"] == ["wait"]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM


def test_the_shell_is_still_there_afterwards(user: Shell) -> None:
    said = user.run(typed="claude -p hi\n", code=7)
    assert json.loads(said)["arguments"] == ["-p", "hi"]


def test_a_program_that_is_not_there(user: Shell) -> None:
    said = Shell({**user.env, "PATH": "/usr/bin:/bin"}).here("codex", code=127)
    assert "npm install -g @openai/codex" in said
    assert "OPENAI_BASE_URL and OPENAI_API_KEY as 'raworc env' prints them" in said


def test_variables_for_a_shell_and_for_programs(user: Shell, steady_stack: Stack) -> None:
    for_bash = user.here("env")
    shown = "import json, os; print(json.dumps(dict(os.environ)))"
    script = f"export ANTHROPIC_API_KEY=x\n{for_bash}\n{sys.executable} -c '{shown}'"
    environ = json.loads(subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout)
    told = json.loads(user.here("env", "--shell", "json"))
    assert told == {name: environ[name] for name in told}
    assert told["ANTHROPIC_BASE_URL"] == steady_stack.url
    assert told["OPENAI_BASE_URL"] == f"{steady_stack.url}/v1"
    assert told["OPENAI_API_KEY"] == told["ANTHROPIC_AUTH_TOKEN"]
    assert "ANTHROPIC_API_KEY" not in environ
    assert not told.keys() & set(VARIABLES)  # this server needs no authority
    assert f"set -gx ANTHROPIC_BASE_URL {steady_stack.url}" in user.here("env", "--shell", "fish")
    assert "there is no shell 'cmd'" in user.here("env", "--shell", "cmd", code=1)


def test_who_is_not_logged_in_is_told(user: Shell, tmp_path: Path) -> None:
    nobody = Shell({**user.env, "RAWORC_CREDENTIALS": str(tmp_path / "none" / "c.json")})
    assert "run 'raworc login'" in nobody.here("claude", code=1)
    assert "run 'raworc login'" in nobody.here("env", code=1)
