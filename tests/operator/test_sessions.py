"""Sessions of spaces: their turns, and their end."""

import pytest
from sqlalchemy import func

from operating import World
from raworc.domain.definitions import Definition
from raworc.ids import SessionId
from raworc.sandbox.driver import SandboxError
from raworc.services.definitions import Definitions, Where
from raworc.services.queue import QueueLimits
from raworc.services.session_remixes import SessionRemix, SessionRemixes
from raworc.services.session_states import SessionStates
from raworc.services.spaces import SpaceChange, Spaces
from raworc.store.briefs import of_session, of_space
from waiting import until

pytestmark = pytest.mark.anyio


def bash(command: str) -> str:
    return f"```bash\n{command}\n```"


async def define(place: World, name: str, **fields: object) -> str:
    new = Definition(name=name, instructions="Be kind", model="scripted", **fields)  # pyright: ignore[reportArgumentType]
    return str((await Definitions(place.db).create(place.admin, new, "default")).id)


async def released(place: World, session_id: SessionId) -> None:
    async def free() -> bool:
        row = await place.row(session_id)
        return row is None or (row.held_by is None and row.desired is None)

    await until(free)


async def test_a_session_without_agents_answers_with_its_spaces_default(place: World):
    async with place.operator():
        session_id = await place.begin()
        reply = await place.reply(session_id, bash("echo $RAWORC_SPACE $RAWORC_AGENT > file; cat file"))
        assert (reply.role, reply.content, reply.agent_id) == ("AGENT", "default default", None)
        assert place.file(session_id, "file") == b"default default\n"
        row = await place.shared.get(place.admin, str(session_id))
        assert None not in {row.started_at, row.sandbox_id}
        assert [message.role for message in await place.heard(session_id)] == ["USER", "AGENT"]


async def test_a_starting_prompt_is_the_first_turn_of_the_first_agent(place: World):
    async with place.operator():
        agent_id, other = await define(place, "first"), await define(place, "second")
        session_id = await place.begin(starting_prompt="hello", agent_ids=[agent_id, other], name="demo")
        reply = await place.next_reply(session_id)
        assert (reply.role, str(reply.agent_id), reply.agent_name) == ("AGENT", agent_id, "first")
        assert reply.content == "You said: hello"


async def test_agents_that_are_out_of_use_do_not_answer(place: World):
    async with place.operator():
        first, second = await define(place, "first"), await define(place, "second")
        session_id = await place.begin(agent_ids=[first, second])
        definitions = Definitions(place.db)
        await definitions.update(place.admin, Where(first), Definition(active=False))
        assert (await place.reply(session_id, "hello")).agent_name == "second"
        await definitions.delete(place.admin, Where(second))
        assert (await place.reply(session_id, "hello")).agent_id is None


async def test_the_default_model_of_a_space_is_asked(place: World):
    await Spaces(place.db).update(place.admin, "default", SpaceChange(settings={"default_model": "scripted-two"}))
    session_id, home_id = await place.begin(), await place.create()
    async with place.db.reading() as conn:
        for brief in (await of_space(conn, session_id), await of_session(conn, home_id)):
            assert brief
            assert brief.model == "scripted-two"


async def test_an_idle_session_is_suspended_after_its_waiting_timeout_or_never(place: World):
    async with place.operator():
        never, soon = await place.begin(waiting_timeout_s=0), await place.begin(waiting_timeout_s=300)
        for session_id in (never, soon):
            await place.until_state(session_id, "idle")
            await place.change(session_id, idle_from=func.now() - func.make_interval(0, 0, 0, 30))
        await place.until_state(soon, "slept")
        assert (await place.row(never)).state == "idle"
        assert (await place.reply(soon, "hello")).content == "You said: hello"


async def test_a_terminated_session_stays_readable_without_sandbox_and_files(place: World):
    async with place.operator():
        session_id = await place.begin()
        await place.say(session_id, bash("touch begun; sleep 1000"))
        await place.say(session_id, "never answered")
        await place.until_file(session_id, "begun")
        await place.shared.terminate(place.admin, str(session_id))
        await released(place, session_id)
        assert await place.driver.list() == []
        assert not (place.settings.sessions_dir / str(session_id)).exists()
        row = await place.shared.get(place.admin, str(session_id))
        assert (row.state, row.termination_reason, row.sandbox_id) == ("terminated", "terminated by admin", None)
        said = await place.heard(session_id)
        assert [message.role for message in said] == ["USER", "USER", "SYSTEM", "SYSTEM"]
        assert said[-1].content == "This message was not answered: the session was terminated first"


async def test_a_deleted_session_is_gone_with_all_of_it(place: World):
    async with place.operator():
        session_id = await place.begin()
        await place.reply(session_id, "hello")
        await place.shared.terminate(place.admin, str(session_id))
        await released(place, session_id)
        await place.shared.delete(place.admin, str(session_id))

        async def gone() -> bool:
            return await place.row(session_id) is None

        await until(gone)


# ── pause ─────────────────────────────────────────────────────────────────────────────────────────────
TICKING = "bash -c 'while true; do echo x >> ticks; sleep 0.02; done' > /dev/null 2>&1 & echo started"


def states(place: World) -> SessionStates:
    return SessionStates(place.db)


def ticks(place: World, session_id: SessionId) -> int:
    return len(place.file(session_id, "ticks") or b"")


async def test_a_paused_session_keeps_its_memory_and_uses_no_processor(place: World):
    async with place.operator():
        session_id = await place.begin()
        assert (await place.reply(session_id, bash(TICKING))).content == "started"
        await until(lambda: ticks(place, session_id) > 0)
        paused = await states(place).pause(place.admin, str(session_id))
        assert (paused.state, paused.sandbox_id is None) == ("paused", False)
        await place.until_frozen(session_id)
        before = ticks(place, session_id)
        await place.say(session_id, bash("pgrep -f 'echo x' > /dev/null && echo alive"))  # half a second goes by
        other = await place.begin()
        await place.reply(other, "hello")
        assert ticks(place, session_id) == before
        assert (await place.heard(session_id))[-1].role == "USER"
        resumed = await states(place).resume(place.admin, str(session_id))
        assert resumed.sandbox_id == paused.sandbox_id
        assert (await place.next_reply(session_id)).content == "alive"
        await until(lambda: ticks(place, session_id) > before)


async def test_a_turn_that_is_paused_goes_on_where_it_was(place: World):
    async with place.operator():
        session_id = await place.begin()
        await place.say(session_id, bash(f"{TICKING}; touch begun; until [ -e go ]; do sleep 0.02; done; echo done"))
        await place.until_file(session_id, "begun")
        await states(place).pause(place.admin, str(session_id))
        await place.until_frozen(session_id)
        before = ticks(place, session_id)
        (place.settings.sessions_dir / str(session_id) / "go").touch()
        await place.reply(await place.begin(), "hello")
        assert ticks(place, session_id) == before
        assert (await place.row(session_id)).state == "paused"
        await states(place).resume(place.admin, str(session_id))
        assert (await place.next_reply(session_id)).content == "started\ndone"
        assert (await place.row(session_id)).state == "idle"


async def test_an_operator_that_goes_loses_the_memory_and_nothing_that_was_said(place: World):
    async with place.operator():
        session_id = await place.begin()
        await place.say(session_id, bash("touch begun; sleep 1000"))
        await place.until_file(session_id, "begun")
        await states(place).pause(place.admin, str(session_id))
        await place.until_frozen(session_id)
        await place.say(session_id, "and then?")
    async with place.operator():
        await place.until_state(session_id, "slept")
        await released(place, session_id)
        assert [message.role for message in await place.heard(session_id)] == ["USER", "USER"]
        await states(place).resume(place.admin, str(session_id))

        async def answered() -> bool:
            return len(await place.heard(session_id)) == 4

        await until(answered)
        unknown, last = (await place.heard(session_id))[2:]
        assert "outcome unknown" in unknown.content
        assert last.content == "You said: and then?"


async def test_a_paused_session_ends_and_sleeps_at_once(place: World):
    async with place.operator():
        ending, sleeping = await place.begin(), await place.begin()
        for session_id in (ending, sleeping):
            await place.say(session_id, bash("touch begun; sleep 1000"))
            await place.until_file(session_id, "begun")
            await states(place).pause(place.admin, str(session_id))
            await place.until_frozen(session_id)
        await place.shared.terminate(place.admin, str(ending))
        await states(place).suspend(place.admin, str(sleeping))
        for session_id in (ending, sleeping):
            await released(place, session_id)
        assert await place.driver.list() == []
        assert (await place.reply(sleeping, "hello")).content == "You said: hello"


async def test_where_nothing_can_be_frozen_a_paused_session_sleeps(place: World, monkeypatch: pytest.MonkeyPatch):
    async def never(_: object) -> None:
        raise SandboxError("This host has no control group that can be frozen")

    monkeypatch.setattr("raworc.sandbox.bubble.Bubble.freeze", never)
    async with place.operator():
        session_id = await place.begin()
        await place.reply(session_id, "hello")
        await states(place).pause(place.admin, str(session_id))
        await place.until_state(session_id, "slept")
        assert (await place.reply(session_id, "again")).content == "You said: again"


async def test_a_pause_that_is_taken_back_at_once_leaves_it_running(place: World):
    async with place.operator():
        session_id = await place.begin()
        await place.reply(session_id, "hello")
        for _ in range(3):
            await states(place).pause(place.admin, str(session_id))
            await states(place).resume(place.admin, str(session_id))
        assert (await place.reply(session_id, bash("echo runs"))).content == "runs"


# ── remixes ───────────────────────────────────────────────────────────────────────────────────────────
async def test_a_remix_has_the_files_and_the_agents_and_not_what_was_said(place: World):
    async with place.operator():
        agent_id = await define(place, "first")
        parent = await place.begin(agent_ids=[agent_id], metadata={"a": 1}, starting_prompt=bash("echo kept > file"))
        await place.next_reply(parent)
        remixes = SessionRemixes(place.db, QueueLimits())
        await states(place).pause(place.admin, str(parent))
        made = await remixes.make(place.admin, str(parent), SessionRemix())
        assert (made.parent_id, made.metadata, [agent["name"] for agent in made.agents]) == (
            parent,
            {"a": 1},
            ["first"],
        )
        child = SessionId(made.id)
        assert (await place.reply(child, bash("cat file"))).content == "kept"
        assert [message.role for message in await place.heard(child)] == ["USER", "AGENT"]
        assert (await place.row(parent)).state == "paused"
