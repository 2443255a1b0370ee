"""The files of a remix: copied before its first sandbox, whatever its parent and its operators do meanwhile."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import select

from operating import World, answer, only
from raworc.ids import SessionId
from raworc.operator.session import HeldSession, Parts
from raworc.sandbox.driver import Driver, SandboxError, Workspace
from raworc.services.remixes import Remix, Remixes
from raworc.services.secrets import Secrets
from raworc.store.schema import sessions
from waiting import until

pytestmark = pytest.mark.anyio

WORK = "```bash\nmkdir -p code; echo 1 > code/a; echo 2 > data; ln -s data link; ln -s /etc/passwd out; echo ok\n```"
LOOK = "```bash\nls -A; cat data; echo mine >> data\n```"


async def remix(place: World, parent: str = "demo", name: str = "child", **wish: object) -> SessionId:
    remixes = Remixes(place.db, Secrets(b"m" * 32), place.settings)
    await remixes.make(place.admin, parent, Remix(name, **wish))  # pyright: ignore[reportArgumentType]
    return await place.session_of(name)


async def gone(place: World, session_id: SessionId) -> None:
    async def absent() -> bool:
        return await place.row(session_id) is None

    await until(absent)
    assert not (place.settings.sessions_dir / str(session_id)).exists()


class Intruded:
    """The real driver, with something else in place of its copies."""

    def __init__(self, driver: Driver, copy: Callable[..., object]) -> None:
        self._driver = driver
        self._copy = copy

    def __getattr__(self, name: str) -> object:
        return getattr(self._driver, name)

    async def copy_workspace(self, source: Workspace, target: Workspace, **rules: object) -> None:
        await self._copy(self._driver, source, target, **rules)  # type: ignore[misc]


def intruded(copy: Callable[..., object]) -> Callable[[Parts], Parts]:
    def changed(parts: Parts) -> Parts:
        driver = Intruded(parts.premises.driver, copy)
        return replace(parts, premises=replace(parts.premises, driver=driver))  # pyright: ignore[reportArgumentType]

    return changed


@dataclass
class Held:
    """Copies that wait until they are let go."""

    begun: asyncio.Event
    go_on: asyncio.Event

    @classmethod
    def new(cls) -> "Held":
        return cls(asyncio.Event(), asyncio.Event())

    async def copy(self, driver: Driver, source: Workspace, target: Workspace, **rules: object) -> None:
        self.begun.set()
        await self.go_on.wait()
        await driver.copy_workspace(source, target, **rules)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("state", ["idle", "slept"])
async def test_a_remix_starts_with_its_parents_files_and_leaves_them(place: World, state: str):
    async with place.operator():
        parent = await place.create(secrets={"TOKEN": "alpha"})
        assert answer(await place.ask(WORK)) == "ok"
        if state == "slept":
            await place.sessions.set_state(place.admin, "demo", "slept")
        before = (await place.row(parent)).event_seq
        child = await remix(place, prompt=LOOK)
        turn = (await place.all_turns("child"))[-1]
        assert answer(await place.settled(turn.id, "child")) == "code\ndata\nlink\nout\n2"
        assert answer(await place.ask("```bash\necho $TOKEN\n```", "child")) == "alpha"
        assert place.file(parent, "data") == b"2\n"
        assert place.file(child, "data") == b"2\nmine\n"
        row = await place.row(child)
        assert (row.copy_of, row.copy_code, row.state) == (None, True, "idle")
        assert (await place.row(parent)).event_seq == before


async def test_a_remix_without_code(place: World):
    async with place.operator():
        await place.create()
        await place.ask(WORK)
        await remix(place, code=False, secrets=False, prompt=LOOK)
        turn = (await place.all_turns("child"))[-1]
        assert answer(await place.settled(turn.id, "child")) == "data\nlink\nout\n2"


async def test_a_busy_parent_works_on(place: World):
    async with place.operator():
        parent = await place.create()
        running = await place.post(
            "```bash\necho kept > kept; touch begun\n"
            "until [ -e stop ]; do echo x >> log; mv -f log log2; done; echo end\n```"
        )
        await place.until_file(parent, "begun")
        child = await remix(place)
        await place.until_state(child, "idle")
        assert place.file(child, "kept") == b"kept\n"
        (place.settings.sessions_dir / str(parent) / "stop").touch()
        assert answer(await place.settled(running)) == "end"


async def test_a_parent_that_was_never_open_gives_nothing_and_its_definition(place: World):
    await place.create(setup="touch made")
    child = await remix(place)
    async with place.operator():
        await place.until_state(child, "idle")
        await place.until_state(await place.session_of("demo"), "idle")
        assert place.file(child, "made") == b""


async def test_a_parent_deleted_before_the_copy_keeps_its_files_for_it(place: World):
    held = Held.new()
    async with place.operator(parts=intruded(held.copy)) as operator:
        parent = await place.create()
        await place.ask(WORK)
        child = await remix(place)
        await held.begun.wait()
        await place.agents.delete(place.admin, "demo")
        await until(lambda: parent not in operator.held)
        assert await place.driver.list() == [], "its sandbox is closed at once"
        assert place.file(parent, "data") == b"2\n"
        again = await place.create("demo")
        assert again != parent, "its name is free"
        held.go_on.set()
        await place.until_state(child, "idle")
        assert place.file(child, "data") == b"2\n"
        await gone(place, parent)


async def test_a_remix_of_a_remix_survives_both(place: World):
    held = Held.new()
    async with place.operator(parts=intruded(held.copy)):
        parent = await place.create()
        await place.ask(WORK)
        child = await remix(place, code=False)
        grandchild = await remix(place, "child", "grandchild")
        await place.agents.delete(place.admin, "demo")
        await place.agents.delete(place.admin, "child")
        held.go_on.set()
        await place.until_state(grandchild, "idle")
        assert (place.file(grandchild, "data"), place.file(grandchild, "code/a")) == (b"2\n", None)
        await gone(place, child)
        await gone(place, parent)


async def test_a_remix_deleted_in_the_middle_of_its_copy_leaves_nothing(place: World):
    held = Held.new()
    async with place.operator(parts=intruded(held.copy)):
        parent = await place.create()
        await place.ask(WORK)
        child = await remix(place)
        await held.begun.wait()
        await place.agents.delete(place.admin, "child")
        await gone(place, child)
        assert sorted(path.name for path in place.settings.sessions_dir.iterdir()) == [str(parent)]
        await place.agents.delete(place.admin, "demo")
        await gone(place, parent)


async def test_an_operator_that_dies_in_the_middle_of_a_copy(place: World):
    """Half a draft lies there, its process is gone: the next operator copies anew."""
    begun = asyncio.Event()

    async def half(_driver: Driver, _source: Workspace, target: Workspace, **_rules: object) -> None:
        draft = place.settings.sessions_dir / f".copy-{target.session_id}"
        draft.mkdir()
        (draft / "half").touch()
        begun.set()
        await asyncio.Event().wait()

    async with place.operator():
        await place.create()
        await place.ask(WORK)
        await place.sessions.set_state(place.admin, "demo", "slept")
    child = await remix(place, prompt=LOOK)
    hold, holds = await place.claimed(child)
    dying = asyncio.create_task(HeldSession(intruded(half)(place.parts(holds)), hold).run())
    await begun.wait()
    place.dead.add(hold.worker_id)
    async with place.operator():
        turn = (await place.all_turns("child"))[-1]
        assert answer(await place.settled(turn.id, "child")) == "code\ndata\nlink\nout\n2"
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)


async def test_an_operator_that_dies_between_the_copy_and_its_word(place: World):
    """The files are there under their name: they are whole, and not copied again over what may have changed."""
    async with place.operator():
        parent = await place.create()
        await place.ask(WORK)
        child = await remix(place)
        await place.until_state(child, "idle")
        await place.sessions.set_state(place.admin, "child", "slept")
    await place.change(child, copy_of=parent)
    (place.settings.sessions_dir / str(child) / "data").write_bytes(b"the child's own\n")
    async with place.operator():
        assert answer(await place.ask("```bash\ncat data\n```", "child")) == "the child's own"


async def test_a_copy_that_fails_is_told_and_tried_again_at_the_next_wake(place: World):
    failing = True

    async def copy(driver: Driver, source: Workspace, target: Workspace, **rules: object) -> None:
        if failing:
            raise SandboxError("the files could not be copied (No space left on device)")
        await driver.copy_workspace(source, target, **rules)  # pyright: ignore[reportArgumentType]

    async with place.operator(parts=intruded(copy)):
        parent = await place.create()
        await place.ask(WORK)
        child = await remix(place, prompt="go")
        await place.until_state(child, "error")
        turn = await place.settled((await place.all_turns("child"))[0].id, "child")
        assert turn.status == "failed"
        assert "No space left on device" in str(only(turn, "note")["text"])
        await place.agents.delete(place.admin, "demo")
        failing = False
        assert answer(await place.ask(LOOK, "child")) == "code\ndata\nlink\nout\n2"
        await gone(place, parent)


async def test_files_that_should_be_there_and_are_not_are_missed(place: World):
    async with place.operator():
        parent = await place.create()
        await place.ask(WORK)
        await place.sessions.set_state(place.admin, "demo", "slept")
        await until(lambda: _free(place, parent))
        await place.driver.remove(Workspace(parent, (await place.row(parent)).number))
        child = await remix(place)
        await place.until_state(child, "error")


async def _free(place: World, session_id: SessionId) -> bool:
    return (await place.row(session_id)).held_by is None


async def test_a_remix_is_claimed_where_its_parents_files_lie(place: World):
    parent = await place.create()
    child = await remix(place)
    await place.change(parent, node="elsewhere")
    here = place.holds(uuid.uuid4())  # pyright: ignore[reportArgumentType]
    assert not await here.claim(held=(), limit=10)
    there = place.holds(uuid.uuid4(), "elsewhere")  # pyright: ignore[reportArgumentType]
    assert {hold.session_id for hold in await there.claim(held=(), limit=10)} == {parent, child}


async def test_a_parents_row_cannot_go_while_it_is_named(place: World):
    parent = await place.create()
    await remix(place)
    with pytest.raises(Exception, match="fk_sessions_copy_of"):
        async with place.db.transaction() as conn:
            await conn.execute(sessions.delete().where(sessions.c.id == parent))
    async with place.db.reading() as conn:
        assert await conn.scalar(select(sessions.c.id).where(sessions.c.id == parent)) == parent
