"""The command line against a running installation, as a person uses it."""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raworc.settings import DEFAULT_PASSWORD
from stack import Stack
from terminal import Shell, wait_for

WORK = "Please:\n```bash\nmkdir -p code; echo 'print(6 * 7)' > code/a.py; python3 code/a.py\n```\n"
FAULT = 'x\n```fault\n{"status": 400, "times": 99}\n```\n'


@pytest.fixture(scope="module")
def shell(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    path = tmp_path_factory.mktemp("person") / "credentials.json"
    shell = Shell({"PATH": os.environ["PATH"], "RAWORC_CREDENTIALS": str(path)})
    shell.run("login", "--url", stack.url, "--password-stdin", typed=f"{DEFAULT_PASSWORD}\n")
    return shell


@pytest.fixture
def agent(stack: Stack, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.replace("_", "-")[:60].rstrip("-")
    with stack.client() as client:
        client.agents.create(name, model="scripted")
        yield name
        client.agents.delete(name)


def test_login_tells_who_and_where(shell: Shell, stack: Stack):
    path = Path(shell.env["RAWORC_CREDENTIALS"])
    assert path.stat().st_mode & 0o777 == 0o600
    status = shell.json("status")
    assert (status["server"], status["user"], status["role"]) == (stack.url, "admin", "Admin")


def test_a_wrong_password_is_refused_and_nothing_is_kept(shell: Shell, stack: Stack, tmp_path: Path):
    other = Shell({**shell.env, "RAWORC_CREDENTIALS": str(tmp_path / "none.json")})
    said = other.run("login", "--url", stack.url, "--password-stdin", typed="wrong-password\n", code=1)
    assert "raworc: " in said
    assert "Traceback" not in said
    assert not (tmp_path / "none.json").exists()


def test_logout_forgets(shell: Shell, stack: Stack, tmp_path: Path):
    other = Shell({**shell.env, "RAWORC_CREDENTIALS": str(tmp_path / "c.json")})
    other.run("login", "--url", stack.url, "--password-stdin", typed=f"{DEFAULT_PASSWORD}\n")
    assert "Logged out" in other.run("logout")
    assert "not logged in: run 'raworc login'" in other.run("agents", "list", code=1)


def test_a_password_needs_a_terminal_or_a_pipe(shell: Shell, stack: Stack):
    assert "use '--password-stdin'" in shell.run("login", "--url", stack.url, code=1)


def test_work_is_shown_as_it_happens(shell: Shell, agent: str):
    shown = shell.run("ask", agent, WORK)
    assert "$ mkdir -p code" in shown
    assert "│ 42\n╰ ok" in shown
    assert "completed in" in shown
    assert "│ 42" in shell.run("ask", agent, "-", typed=WORK), "work may come from a pipe"


def test_events_are_json_lines_for_programs(shell: Shell, agent: str):
    events = [json.loads(line) for line in shell.run("ask", agent, WORK, "--json").splitlines()]
    kinds = [event["segment"]["type"] for event in events if event["event"] == "segment"]
    assert kinds[-3:] == ["tool_call", "tool_result", "final"]
    assert events[-1]["event"] == "response"
    assert events[-1]["response"]["status"] == "completed"
    ids = [event["id"] for event in events if "id" in event]
    assert ids == sorted(set(ids))


def test_failed_work_fails_the_command(shell: Shell, agent: str):
    said = shell.run("ask", agent, FAULT, code=1)
    assert "ended failed" in said


def test_background_work_is_found_in_the_log(shell: Shell, agent: str):
    response_id = shell.here("ask", agent, "hello there", "--background").strip()
    shell.here("ask", agent, "and again")
    log = shell.here("agents", "log", agent)
    assert response_id in log
    assert "> hello there" in log
    assert "You said: hello there" in log
    lines = [json.loads(line) for line in shell.here("agents", "log", agent, "--json", "--last", "1").splitlines()]
    assert len(lines) == 1


def test_model_calls_are_listed(shell: Shell, agent: str):
    shell.here("ask", agent, WORK)
    calls = shell.json("agents", "requests", agent)["requests"]
    assert len(calls) == 2
    assert all(call["input_tokens"] > 0 and call["status_code"] == 200 for call in calls)
    assert "scripted" in shell.here("agents", "requests", agent)


def test_a_context_is_shown_compacted_and_brought_back(shell: Shell, agent: str):
    shell.here("ask", agent, "build a boat")
    assert "of 100000 tokens (0 %)" in shell.here("agents", "context", agent)
    usage = shell.json("agents", "context", agent, "--compact")
    assert (usage["total_messages_considered"], usage["cutoff_at"] is None) == (1, False)
    assert "1. build a boat" in shell.here("agents", "log", agent)
    assert shell.json("agents", "context", agent, "--clear")["used_tokens_estimated"] == 0
    assert shell.json("agents", "context", agent, "--restore")["cutoff_at"] == usage["cutoff_at"]
    shell.here("agents", "context", agent, "--restore")
    assert "there is no cutoff to take back" in shell.here("agents", "context", agent, "--restore", code=1)
    assert "give one of --clear" in shell.here("agents", "context", agent, "--clear", "--compact", code=1)


def test_files_are_listed_and_read(shell: Shell, agent: str):
    shell.here("ask", agent, WORK)
    assert "code/" in shell.here("agents", "files", agent)
    assert "a.py" in shell.here("agents", "files", agent, "code")
    assert shell.here("agents", "files", agent, "code/a.py", "--read") == "print(6 * 7)\n"
    assert "raworc: " in shell.here("agents", "files", agent, "../etc", code=1)


def test_files_are_put_and_taken_away_whole(shell: Shell, agent: str, tmp_path: Path):
    mine, saved = tmp_path / "mine.txt", tmp_path / "saved.tar.gz"
    mine.write_bytes(b"from a file \xff\n")
    assert "'in/mine.txt' of" in shell.here("agents", "files", agent, "in/", "--write", str(mine))
    assert "mine.txt" in shell.here("agents", "files", agent, "--write", str(mine))
    assert "has 7 bytes" in shell.here("agents", "files", agent, "in/typed", "--write", "-", typed="a line\n")
    assert shell.here("agents", "files", agent, "in/typed", "--read") == "a line\n"
    assert json.loads(shell.here("agents", "files", agent, "x", "-w", str(mine), "--json"))["size"] == 14

    assert "saved.tar.gz' has" in shell.here("agents", "files", agent, "in", "--archive", str(saved))
    with tarfile.open(saved) as archive:
        assert archive.getnames() == ["in", "in/mine.txt", "in/typed"]
        assert archive.extractfile("in/mine.txt").read() == mine.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "saved.tar.gz"}


def test_files_that_cannot_be_put_or_saved_say_why(shell: Shell, agent: str, tmp_path: Path):
    for told, arguments in {
        "cannot be read: No such file": ["--write", str(tmp_path / "none")],
        "has no name": ["--write", "-"],
        "use one of them": ["x", "--read", "--write", "-"],
        "cannot be written: No such file": ["--archive", str(tmp_path / "none" / "x")],
        "raworc: ": ["none", "--archive", str(tmp_path / "x")],
    }.items():
        assert told in shell.here("agents", "files", agent, *arguments, code=1)
    assert list(tmp_path.iterdir()) == []


def test_sleep_and_wake_keep_the_files(shell: Shell, agent: str):
    shell.here("ask", agent, WORK)
    assert "is asleep" in shell.here("agents", "sleep", agent, "--note", "lunch", "--wait")
    assert "raworc: " in shell.here("agents", "files", agent, code=1)
    assert "is awake" in shell.here("agents", "wake", agent, "--wait")
    assert shell.here("agents", "files", agent, "code/a.py", "--read") == "print(6 * 7)\n"
    assert "· slept: lunch" in shell.here("agents", "log", agent)


def test_an_agent_is_created_changed_found_and_deleted(shell: Shell):
    agent = "crud"
    assert "init" in shell.here("agents", "create", agent, "--model", "scripted", "--secret", "KEY=value")
    shell.here("agents", "update", agent, "--description", "Counts things", "--tag", "prod", "--idle-timeout", "600")
    found = shell.json("agents", "list", "--search", "counts", "--tag", "prod")
    assert [item["name"] for item in found["items"]] == [agent]
    assert shell.json("agents", "get", agent)["idle_timeout_seconds"] == 600
    assert f"\n{agent} " in shell.here("agents", "list")
    assert "nothing was deleted" in shell.here("agents", "delete", agent, typed="n\n", code=1)
    shell.here("agents", "delete", agent, "--yes")
    assert "not found" in shell.here("agents", "get", agent, code=1)


def test_an_agent_is_remixed(shell: Shell, stack: Stack, agent: str):
    shell.here("ask", agent, WORK)
    assert "Made 'remixed-one'" in shell.here("agents", "remix", agent, "remixed-one")
    assert "already exists" in shell.here("agents", "remix", agent, "remixed-one", code=1)
    bare = shell.json("agents", "remix", agent, "remixed-two", "--no-code", "--no-secrets", "--prompt", "hi")
    assert bare["parent_agent_name"] == agent
    assert re.search(rf"\nremix of +{agent}\n", shell.here("agents", "get", "remixed-one"))
    shell.here("ask", "remixed-one", "hello")
    shell.here("ask", "remixed-two", "hello")
    assert shell.here("agents", "files", "remixed-one", "code/a.py", "--read") == "print(6 * 7)\n"
    assert "code" not in shell.here("agents", "files", "remixed-two")
    for name in ("remixed-one", "remixed-two"):
        shell.here("agents", "delete", name, "--yes")


def test_secrets_are_put_and_listed_by_name(shell: Shell, agent: str):
    shell.here("ask", agent, "hello")
    assert "from its next wake" in shell.here(
        "agents", "secrets", "put", agent, "KEY", "--value-stdin", typed="val ue\n"
    )
    assert "use '--value-stdin'" in shell.here("agents", "secrets", "put", agent, "KEY", code=1)
    listed = shell.here("agents", "secrets", "list", agent)
    assert "KEY" in listed
    assert "val ue" not in listed
    shell.here("agents", "sleep", agent, "--wait")
    assert "│ val ue" in shell.here("ask", agent, "```bash\necho $KEY\n```")
    shell.here("agents", "secrets", "delete", agent, "KEY")
    assert "has no secret 'KEY'" in shell.here("agents", "secrets", "delete", agent, "KEY", code=1)


def test_an_agent_is_published_for_everybody(shell: Shell, agent: str):
    assert "remix its files and its code." in shell.here("agents", "publish", agent)
    assert "remix its files and its secrets." in shell.here("agents", "publish", agent, "--no-code", "--secrets")
    assert f"\n{agent} " in shell.here("agents", "published")
    assert re.search(r"\npublished +20\S+ \S+ by admin\n", shell.here("agents", "get", agent))
    assert "is not published" in shell.here("agents", "unpublish", agent)
    assert agent not in shell.here("agents", "published")
    shell.here("ask", agent, "hello")
    assert set(shell.json("agents", "runtime", agent)) == {
        "agent_name",
        "total_runtime_seconds",
        "current_session_seconds",
    }
    assert "since its last wake" in shell.here("agents", "runtime", agent)


def test_a_refused_name_says_why(shell: Shell):
    said = shell.here("agents", "create", "not_a_name", code=1)
    assert "raworc: " in said
    assert "name" in said


def test_ctrl_c_cancels_the_work(shell: Shell, agent: str):
    asking = shell.start("ask", agent, "```bash\necho started; sleep 50\n```", "--json")
    assert asking.stdout
    deadline = time.monotonic() + 60
    for line in asking.stdout:
        assert time.monotonic() < deadline
        if '"tool_call"' in line:
            break
    asking.send_signal(signal.SIGINT)
    _, err = asking.communicate(timeout=60)
    assert asking.returncode == 130, err
    assert "cancelled" in err
    last = json.loads(shell.here("agents", "log", agent, "--json", "--last", "1"))
    assert last["status"] == "cancelled"


def test_at_a_terminal_ctrl_c_asks_first(shell: Shell, agent: str):
    outer, inner = os.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-m", "raworc", "ask", agent, "```bash\necho started; sleep 50\n```"],
        env={**shell.env, "TERM": "xterm"},
        stdin=inner,
        stdout=inner,
        stderr=inner,
    )
    os.close(inner)
    seen = wait_for(outer, b"sleep 50")
    asking.send_signal(signal.SIGINT)
    seen += wait_for(outer, b"[Y/n]")
    os.write(outer, b"n\n")
    seen += wait_for(outer, f"raworc agents log {agent}".encode())
    assert asking.wait(60) == 130, seen
    os.close(outer)
    assert json.loads(shell.here("agents", "log", agent, "--json"))["status"] == "processing"


def test_ctrl_c_on_waiting_work_withdraws_it_and_leaves_the_running_one(shell: Shell, agent: str):
    running = shell.here("ask", agent, "```bash\nuntil test -e go; do sleep 0.1; done; echo went\n```", "--background")
    asking = shell.start("ask", agent, "me next", "--json")
    deadline = time.monotonic() + 60
    while len(shell.here("agents", "log", agent, "--json").splitlines()) < 2:
        assert time.monotonic() < deadline
    asking.send_signal(signal.SIGINT)
    _, err = asking.communicate(timeout=60)
    assert asking.returncode == 130, err
    log = {
        item["id"]: item["status"]
        for item in map(json.loads, shell.here("agents", "log", agent, "--json").splitlines())
    }
    assert log[running.strip()] == "processing"
    assert sorted(log.values()) == ["failed", "processing"]
