"""Postgres gone while model calls are made: none fails, memory stays, and every one is in the record afterwards."""

import asyncio
from collections.abc import Awaitable, Iterator

import pytest

from cluster import clone, drop
from conftest import short_home
from faults import host
from faults.counts import Counts
from faults.line import Line, line
from faults.talks import Talk, faults, ledger, placed, talk_on
from raworc.settings import Settings
from raworc.supervisor.cluster import Cluster, url_at
from stack import Stack
from waiting import until_sync

_CALLS = 6
_MAX_GROWTH_MB = 24.0
_BACK_S = 60.0


@pytest.fixture(scope="module")
def far(postgres: Cluster) -> Iterator[tuple[Stack, Line, str]]:
    """Server and recorder whose Postgres is at the other end of a line; and where it is without one."""
    name = clone(postgres)
    with short_home() as home, short_home() as folder, line(folder, postgres.socket_dir) as laid:
        running = Stack(Settings(home=home, database_url=url_at(folder, name), spool_rotate_s=0.5))
        try:
            running.start("server", "recorder")
            yield running, laid, postgres.url(name)
        finally:
            laid.mend()
            running.close()
            drop(postgres, name)


@pytest.mark.timeout(400)
def test_no_call_fails_and_all_are_recorded(far: tuple[Stack, Line, str], counts: Counts) -> None:
    stack, laid, url = far
    client = stack.client()
    key = client.keys.create("known").key
    login = client.login("admin", "admin").token
    secrets = [{"x-api-key": key}, {"authorization": f"Bearer {login}"}]
    talks = [Talk(stack.url, f"client {number}", secrets[number % 2]) for number in range(8)]
    stranger = Talk(stack.url, "stranger", {"x-api-key": client.keys.create("not used yet").key})

    asyncio.run(talk_on(talks, calls=3))
    before_mb = {name: memory_mb(stack, name) for name in ("server", "recorder")}
    for fail in (laid.hush, laid.cut):
        fail()
        asyncio.run(both(talk_on(talks, calls=_CALLS, at_least_s=counts.outage_s / 2), talk_on([stranger], calls=1)))
    after_mb = {name: memory_mb(stack, name) for name in before_mb}
    laid.mend()

    assert [failed for talk in talks for failed in talk.failed] == []
    assert [status for status, _ in stranger.failed] == [529, 529]
    for name, memory in after_mb.items():
        assert memory - before_mb[name] <= _MAX_GROWTH_MB, f"{name} grew from {before_mb[name]:.0f} to {memory:.0f} MB"
    made = sum(len(talk.seen) for talk in talks)
    until_sync(lambda: placed(url) >= made, limit_s=_BACK_S)
    rows = ledger(url)
    assert [fault for talk in talks for fault in faults(talk, rows)] == []
    asyncio.run(talk_on([stranger], calls=1))
    assert len(stranger.seen) == 1


async def both(*working: Awaitable[None]) -> None:
    await asyncio.gather(*working)


def memory_mb(stack: Stack, name: str) -> float:
    return host.memory_mb(stack.pid(name))
