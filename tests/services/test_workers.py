"""Who is alive: locks on this node, rows for the others."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest
from sqlalchemy import select, text

from outage import Watched, away
from raworc.ids import new_id
from raworc.services.workers import has_ended, working
from raworc.store.schema import workers
from waiting import until

pytestmark = pytest.mark.anyio


async def _rows(db) -> dict:
    async with db.reading() as conn:
        return {row.id: row for row in await conn.execute(select(workers))}


async def test_a_worker_is_seen_while_it_works_and_gone_after(db, settings):
    async with working(db.url, "server", node="here", run_dir=settings.run_dir) as worker:
        row = (await _rows(db))[worker.id]
        assert (row.kind, row.node, row.pid) == ("server", "here", os.getpid())
        assert not has_ended(settings.run_dir, worker.id)
        assert worker.silent_s < 5
    assert has_ended(settings.run_dir, worker.id)
    assert await _rows(db) == {}
    assert list(settings.run_dir.glob("*.lock")) == []


async def test_it_beats(db, settings, monkeypatch):
    monkeypatch.setattr("raworc.services.workers.BEAT_S", 0.01)
    async with working(db.url, "server", node="here", run_dir=settings.run_dir) as worker:
        first = (await _rows(db))[worker.id].seen_at

        async def has_changed() -> bool:
            return (await _rows(db))[worker.id].seen_at != first

        await until(has_changed)


async def test_it_is_silent_while_the_database_does_not_take_its_beats_and_heard_again_after(db, settings, monkeypatch):
    monkeypatch.setattr("raworc.services.workers.BEAT_S", 0.01)
    async with working(db.url, "server", node="here", run_dir=settings.run_dir) as worker:
        async with db.transaction() as conn:
            await conn.execute(text("LOCK TABLE workers IN EXCLUSIVE MODE"))
            await until(lambda: worker.silent_s > 0.2)
        await until(lambda: worker.silent_s < 0.1)


async def test_a_beat_that_failed_is_sent_again_soon(postgres, db, settings, monkeypatch):
    """Not when the next one is due: two that meet a database in trouble would make a process look dead."""
    monkeypatch.setattr("raworc.services.workers.BEAT_S", 0.01)
    async with working(db.url, "server", node="here", run_dir=settings.run_dir) as worker:
        async with away(postgres, Watched(db.url, pool_size=1), misses=0):
            await until(lambda: worker.silent_s > 0.2)
            monkeypatch.setattr("raworc.services.workers.BEAT_S", 3600)
            await until(lambda: worker.silent_s > 0.6)  # another one failed
        await until(lambda: worker.silent_s < 0.1)


async def test_a_killed_process_has_ended_at_once_and_the_next_start_forgets_it(db, settings):
    program = (
        "import asyncio, sys; from pathlib import Path; from raworc.services.workers import working\n"
        "async def main():\n"
        f"    run_dir = Path({str(settings.run_dir)!r})\n"
        f"    async with working({db.url!r}, 'operator', node='here', run_dir=run_dir) as worker:\n"
        "        print(worker.id, flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
    line = await process.stdout.readline()
    (killed,) = await _rows(db)
    assert str(killed) == line.decode().strip()
    assert not has_ended(settings.run_dir, killed)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert has_ended(settings.run_dir, killed)

    async with working(db.url, "operator", node="here", run_dir=settings.run_dir) as worker:
        assert set(await _rows(db)) == {worker.id}
        assert [path.stem for path in settings.run_dir.glob("*.lock")] == [str(worker.id)]


async def test_workers_of_other_nodes_are_left_to_them(db, settings):
    async with db.transaction() as conn:
        there = new_id()
        await conn.execute(workers.insert().values(id=there, kind="server", node="there", pid=1))
    async with working(db.url, "server", node="here", run_dir=settings.run_dir):
        assert there in await _rows(db)


async def test_nobody_is_remembered_for_ever(db, settings):
    async with db.transaction() as conn:
        await conn.execute(
            workers.insert().values(
                id=new_id(), kind="server", node="there", pid=1, seen_at=text("now() - interval '2 days'")
            )
        )
    async with working(db.url, "server", node="here", run_dir=settings.run_dir) as worker:
        assert set(await _rows(db)) == {worker.id}
