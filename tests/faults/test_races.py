"""Two at once: creating the same name, deleting what is busy, many agents on few cores."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TypeVar

import pytest

from faults import host
from faults.counts import Counts
from raworc.client import Raworc
from raworc.client.errors import ClientError, Conflict, NotFound
from raworc.client.shapes import Agent, Response

_NUMBERS = count(1)
T = TypeVar("T")


def test_two_creates_at_once_make_one_agent(client: Raworc) -> None:
    for _ in range(8):
        name = f"twin-{next(_NUMBERS)}"
        outcomes = at_once(4, lambda name=name: outcome(lambda: client.agents.create(name)))
        agents = [found for found in outcomes if isinstance(found, Agent)]
        refused = [found for found in outcomes if isinstance(found, Conflict)]
        assert (len(agents), len(refused)) == (1, 3), outcomes
        assert name in str(refused[0])
        assert client.responses.ask(name, "hello").text == "You said: hello"


def test_delete_while_busy_ends_everything_and_frees_the_name(client: Raworc) -> None:
    name = f"doomed-{next(_NUMBERS)}"
    client.agents.create(name)
    running = client.responses.create(name, "```bash\necho old > kept; sleep 86395\n```")
    client.responses.create(name, "waiting")
    host.wait_running("sleep 86395")

    client.agents.delete(name)

    with pytest.raises(NotFound):
        client.agents.get(name)
    with pytest.raises(NotFound):
        client.responses.get(name, running.id)
    client.agents.create(name)
    assert client.responses.ask(name, "```bash\nls -A\n```").status == "completed"
    with pytest.raises(NotFound):
        client.files.read(name, "kept")
    host.wait_gone("sleep 86395")


def test_delete_ends_a_blocked_request(client: Raworc) -> None:
    name = f"doomed-{next(_NUMBERS)}"
    client.agents.create(name)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(outcome, lambda: client.responses.ask(name, "```bash\nsleep 86394\n```"))
        host.wait_running("sleep 86394")
        client.agents.delete(name)
        answer = asking.result(10)
    assert isinstance(answer, Response)
    assert answer.status == "cancelled"


def test_deletes_at_once_agree(client: Raworc) -> None:
    name = f"doomed-{next(_NUMBERS)}"
    client.agents.create(name)
    outcomes = at_once(4, lambda: outcome(lambda: client.agents.delete(name)))
    assert outcomes.count(None) == 1
    assert all(found is None or isinstance(found, NotFound) for found in outcomes)


def test_many_agents_answer_at_once(client: Raworc, counts: Counts) -> None:
    names = [f"crowd-{number}" for number in range(counts.crowd)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(client.agents.create, names))
        turns = list(pool.map(lambda name: client.responses.ask(name, f"```bash\necho {name}\n```"), names))
    assert [turn.text for turn in turns] == names
    for name in names:
        client.agents.delete(name)


def at_once(number: int, act: Callable[[], T]) -> list[T]:
    """What ``act`` gives in ``number`` threads that start together."""
    barrier = threading.Barrier(number)

    def waiting() -> T:
        barrier.wait(10)
        return act()

    with ThreadPoolExecutor(number) as pool:
        return [future.result(60) for future in [pool.submit(waiting) for _ in range(number)]]


def outcome(act: Callable[[], T]) -> T | ClientError:
    """The answer, or the error as a value."""
    try:
        return act()
    except ClientError as error:
        return error
