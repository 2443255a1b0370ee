"""A disk that is nearly full: new work is refused by a text that helps, everything else goes on."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from raworc.domain.storage import Watermarks
from raworc.errors import StorageFull
from raworc.sandbox.files import workspace_files
from raworc.services.agent_states import AgentStates
from raworc.services.agents import Agents, NewAgent
from raworc.services.files import AgentFiles
from raworc.services.queue import QueueLimits
from raworc.services.remixes import Remix, Remixes
from raworc.services.secrets import Secrets
from raworc.services.storage import Storage
from raworc.services.turns import Turns
from workspaces import make, place

pytestmark = pytest.mark.anyio

FULL_MB = 10**9  # no disk of a test has a petabyte left


def test_the_fullest_disk_counts(tmp_path: Path):
    memory = Path("/dev/shm")  # noqa: S108  a file system of its own
    storage = Storage((tmp_path, memory, tmp_path / "not there"), Watermarks.of_mb(1))
    alone = [Storage((folder,)).fullest() for folder in (tmp_path, memory)]
    assert storage.fullest().free_bytes == pytest.approx(min(room.free_bytes for room in alone), rel=0.1)


@pytest.mark.parametrize("storage", [Storage(), Storage((Path("/"),), Watermarks(0)), Storage((), Watermarks(1))])
def test_without_a_mark_or_a_disk_there_is_room(storage: Storage):
    storage.check()
    assert not storage.is_low


async def untaken() -> AsyncIterator[bytes]:
    raise AssertionError("nothing is taken where there is no room")
    yield b""


async def test_new_work_is_refused_and_the_rest_goes_on(settings, db, listener, admin):
    full = replace(settings, disk_free_mb=FULL_MB)
    sessions = AgentStates(db, QueueLimits.of(full))
    agents, turns = Agents(db, Secrets(b"k" * 32), full), Turns(db, listener, full)
    with_room = Agents(db, Secrets(b"k" * 32), settings)
    await with_room.create(admin, NewAgent("demo"))
    waiting = await Turns(db, listener, settings).start(admin, "demo", {"text": "before"})
    folder, storage = settings.sessions_dir, Storage.of(full)
    workspace = make(await place("demo", db, settings))
    files = AgentFiles(db, workspace_files(folder, settings.uid_base), folder, storage)
    for refused in (
        agents.create(admin, NewAgent("other")),
        Remixes(db, Secrets(b"k" * 32), full).make(admin, "demo", Remix("other")),
        files.write(admin, "demo", "a", untaken()),
        turns.start(admin, "demo", {"text": "more"}),
    ):
        with pytest.raises(StorageFull, match=r"disk has \d+ MiB left and new work needs 1000000000") as raised:
            await refused
        assert raised.value.headers["Retry-After"]
    assert list(workspace.iterdir()) == []
    assert [turn.id for turn in (await turns.page(admin, "demo", 10, 0)).turns] == [waiting.id]
    await sessions.set_state(admin, "demo", "slept")
    with pytest.raises(StorageFull):
        await sessions.wake(admin, "demo", prompt=None)
    await agents.delete(admin, "demo")
