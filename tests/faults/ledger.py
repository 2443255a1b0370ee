"""What was promised, and whether it was kept.

The driver writes down each acknowledged turn, on disk before it counts. Each tool of a turn appends one line that
exists nowhere else, its *mark*, to a file in the workspace. The judge reads this log, those files (through the files
API) and the public API: never a table.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from raworc.client import Raworc
from raworc.client.errors import ClientError, NotFound, Unavailable, Unreachable
from raworc.client.shapes import Response
from raworc.domain.turns import UNKNOWN_OUTCOME

EFFECTS = "effects"
_PAGE = 1000
_POLL_S = 0.1


@dataclass(frozen=True)
class Promise:
    """One acknowledged turn: its agent, its id, and the marks that its tools leave, in order."""

    agent: str
    response_id: str
    marks: tuple[str, ...]


class Ledger:
    """The driver's own log: JSON lines, each synced before it counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def acknowledge(self, promise: Promise) -> None:
        os.write(self._fd, msgspec.json.encode(promise) + b"\n")
        os.fsync(self._fd)

    def promises(self) -> list[Promise]:
        return [msgspec.json.decode(line, type=Promise) for line in self._path.read_bytes().splitlines()]

    def close(self) -> None:
        os.close(self._fd)


def prompt(marks: Sequence[str], *, linger_s: float = 0.05) -> str:
    """Work for the scripted model: one bash call a mark, which leaves it and then takes its time."""
    return "\n".join(f"```bash\necho {mark} >> {EFFECTS} && sleep {linger_s}\n```" for mark in marks)


def settle(client: Raworc, ledger: Ledger, *, deadline_s: float) -> None:
    """Return when every promised turn has ended, or at the deadline: then the judge says which has not."""
    waiting = {(promise.agent, promise.response_id) for promise in ledger.promises()}
    ends = time.monotonic() + deadline_s
    while waiting and time.monotonic() < ends:
        waiting = {key for key in waiting if not _is_settled(client, *key)}
        time.sleep(_POLL_S if waiting else 0)


def violations(client: Raworc, ledger: Ledger) -> list[str]:
    """Each broken promise as a line of text; empty when all were kept."""
    found: list[str] = []
    promises = ledger.promises()
    for agent in sorted({promise.agent for promise in promises}):
        effects = Counter(_effects(client, agent))
        found += [f"'{mark}' was done {count} times" for mark, count in effects.items() if count > 1]
        turns = {turn.id: turn for turn in _turns(client, agent)}
        for promise in promises:
            if promise.agent == agent:
                found += _broken(promise, turns.get(promise.response_id), effects)
    return found


def unknown_outcomes(client: Raworc, agents: Sequence[str]) -> int:
    """How many tools were honestly reported as unknown."""
    turns = [turn for agent in agents for turn in _turns(client, agent)]
    return sum(UNKNOWN_OUTCOME in str(segment.get("output")) for turn in turns for segment in turn.segments)


def _broken(promise: Promise, turn: Response | None, effects: Counter[str]) -> Iterator[str]:
    where = f"turn {promise.response_id} of '{promise.agent}'"
    if turn is None:
        yield f"{where} is lost"
        return
    if turn.status != "completed":
        yield f"{where} is '{turn.status}': {turn.segments[-1:]}"
        return
    kinds = Counter(str(segment["type"]) for segment in turn.segments)
    if kinds["final"] != 1:
        yield f"{where} has {kinds['final']} finals"
    results = {segment["id"]: segment for segment in turn.segments if segment["type"] == "tool_result"}
    calls = [segment for segment in turn.segments if segment["type"] == "tool_call"]
    if not kinds["tool_call"] == kinds["tool_result"] == len(results) == len(promise.marks):
        yield f"{where} has {len(calls)} calls and {kinds['tool_result']} results for {len(promise.marks)} tools"
        return
    for mark, call in zip(promise.marks, calls, strict=True):
        result = results.get(call["id"])
        if mark not in call["args"]["command"] or result is None:
            yield f"{where} has no result of its own for '{mark}'"
        elif not result["is_error"] and not effects[mark]:
            yield f"'{mark}' is reported as done and was not"


def _turns(client: Raworc, agent: str) -> list[Response]:
    turns: list[Response] = []
    while len(page := client.responses.list(agent, limit=_PAGE, offset=len(turns))) == _PAGE:
        turns += page
    return turns + page


def _effects(client: Raworc, agent: str) -> list[str]:
    try:
        return client.files.read(agent, EFFECTS).decode().split()
    except NotFound:  # none of its tools ran yet
        return []


def _is_settled(client: Raworc, agent: str, response_id: str) -> bool:
    try:
        return client.responses.get(agent, response_id).is_settled
    except (Unreachable, Unavailable):
        return False
    except ClientError:  # the judge will say so
        return True
