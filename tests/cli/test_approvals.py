"""Deciding about tool calls: at the terminal that asked, and from elsewhere."""

import subprocess

from stack import Stack
from terminal import Shell
from waiting import until_sync

ASKS = [{"type": "approve_tools", "tools": ["bash"]}]
WORK = "x\n```bash\necho $((6 * 7))\n```\n"


def test_at_a_terminal_ask_asks(person: Shell, worker: str, steady_stack: Stack):
    with steady_stack.client() as client:
        client.agents.update(worker, guardrails=ASKS)
    with person.open("ask", worker, WORK) as terminal:
        terminal.until("Run it? y approves, n denies, Enter leaves it waiting")
        terminal.type("y\r")
        assert "was approved by 'admin'" in terminal.until("│ 42")
        terminal.until("completed in")
        assert terminal.ended() == 0


def test_without_a_terminal_it_says_how_to_decide(person: Shell, worker: str, steady_stack: Stack):
    with steady_stack.client() as client:
        client.agents.update(worker, guardrails=ASKS)
        process = person.start("ask", worker, WORK)
        until_sync(lambda: bool(client.approvals.open(worker)))
        (asked,) = client.approvals.open(worker)
    assert f'{asked.id}  bash  {{"command": "echo $((6 * 7))"}}' in person.here("agents", "approvals", worker)
    said = person.here("agents", "approvals", worker, "--deny", asked.id, "--reason", "not now")
    assert said == "denied 'bash'\n"
    told = outcome(process)
    assert f"decide with: raworc agents approvals {worker} --approve {asked.id}" in told
    assert "not run: a person denied this call of 'bash': not now" in told
    again = person.here("agents", "approvals", worker, "--approve", asked.id, code=1)
    assert "was denied by 'admin' already" in again
    person.here("agents", "approvals", worker, "--approve", "a", "--deny", "b", code=1)


def outcome(process: subprocess.Popen[str]) -> str:
    """What it said in all, once it has ended well."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    return out + err
