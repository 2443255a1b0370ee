"""Sleep, wake, timers and the end of sessions."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func

from operating import World, answer, kinds, only
from raworc.domain.agents import AgentChange
from raworc.operator.session import Parts
from raworc.sandbox.driver import SandboxSpec, SandboxStartFailed, SandboxUnavailable
from recall import Listening, listening
from waiting import until

pytestmark = pytest.mark.anyio

LONG_AGO = datetime.now(UTC) - timedelta(days=30)


def bash(command: str) -> str:
    return f"```bash\n{command}\n```"


async def released(place: World, session_id) -> None:
    async def free() -> bool:
        return (await place.row(session_id)).held_by is None

    await until(free)


async def test_a_delayed_sleep_closes_the_sandbox_and_keeps_the_files(place: World):
    async with place.operator() as operator:
        session_id = await place.create()
        await place.ask(bash("echo kept > file"))
        await place.sessions.sleep(place.admin, "demo", delay_s=None, note="good night")
        await place.change(session_id, sleep_at=func.now())
        await place.until_state(session_id, "slept")
        await released(place, session_id)
        assert await place.driver.list() == []
        assert not operator.held
        slept = only((await place.all_turns())[-1], "slept")
        assert (slept["reason"], slept["note"], slept["by"]) == ("user", "good night", "admin")
        (run,) = await place.runs(session_id)
        assert run.ended_at is not None
        row = await place.row(session_id)
        assert (row.sleep_at, row.sleep_note, row.sleep_by, row.desired) == (None, None, None, None)

        await place.sessions.wake(place.admin, "demo", prompt=bash("cat file"))
        assert answer(await place.settled((await place.all_turns())[-1].id)) == "kept"
        assert len(await place.runs(session_id)) == 2


async def test_a_delayed_sleep_settles_what_is_open(place: World):
    async with place.operator():
        session_id = await place.create()
        running, waiting = await place.post(bash("touch begun; sleep 1000")), await place.post("never run")
        await place.until_file(session_id, "begun")
        await place.sessions.sleep(place.admin, "demo", delay_s=5, note=None)
        await place.change(session_id, sleep_at=func.now())
        await place.until_state(session_id, "slept")
        for turn_id, shown in {running: ["tool_call", "cancelled"], waiting: ["note", "cancelled"]}.items():
            turn = await place.turn(turn_id)
            assert (turn.status, kinds(turn)) == ("cancelled", shown)


async def test_sleep_at_once_is_obeyed_by_the_operator(place: World):
    async with place.operator():
        session_id = await place.create()
        turn_id = await place.post(bash("touch begun; sleep 1000; touch survived"))
        await place.until_file(session_id, "begun")
        await place.sessions.set_state(place.admin, "demo", "slept")
        await released(place, session_id)
        assert await place.driver.list() == []
        assert (await place.turn(turn_id)).status == "cancelled"
        assert (await place.row(session_id)).desired is None
        assert place.file(session_id, "survived") is None


async def test_a_wake_that_overtakes_the_sleep_still_gets_a_fresh_sandbox(place: World):
    async with place.operator():
        session_id = await place.create()
        await place.ask(bash("touch /tmp/old"))
        await place.sessions.set_state(place.admin, "demo", "slept")
        await place.sessions.wake(place.admin, "demo", prompt=None)
        turn = await place.ask(bash("ls /tmp/old"))
        assert only(turn, "tool_result")["is_error"] is True
        assert session_id == await place.session_of("demo")


async def test_an_input_wakes_a_sleeper(place: World):
    async with place.operator():
        session_id = await place.create()
        await place.until_state(session_id, "idle")
        await place.sessions.set_state(place.admin, "demo", "slept")
        assert answer(await place.ask("good morning")) == "You said: good morning"


async def test_idle_for_too_long(place: World):
    async with place.operator():
        session_id = await place.create()
        await place.until_state(session_id, "idle")
        await place.change(session_id, idle_from=LONG_AGO)
        await place.until_state(session_id, "slept")
        slept = only((await place.all_turns())[-1], "slept")
        assert (slept["reason"], slept["note"], slept["by"]) == ("idle_timeout", None, None)


async def test_busy_for_too_long(place: World):
    async with place.operator():
        session_id = await place.create()
        running, waiting = await place.post(bash("touch begun; sleep 1000")), await place.post("never run")
        await place.until_file(session_id, "begun")
        await place.change(session_id, busy_from=LONG_AGO)
        await place.until_state(session_id, "slept")
        turn = await place.turn(running)
        assert (turn.status, kinds(turn)) == ("failed", ["tool_call", "note"])
        assert (await place.turn_row(running)).error["code"] == "busy_timeout"
        assert (await place.turn(waiting)).status == "cancelled"
        assert only((await place.all_turns())[-1], "slept")["reason"] == "busy_timeout"


async def test_a_busy_hold_that_lasts_too_long_ends_and_nothing_sleeps(place: World):
    async with place.operator():
        session_id = await place.create()
        await place.until_state(session_id, "idle")
        await place.sessions.busy(place.admin, "demo")
        await place.change(session_id, idle_from=LONG_AGO, busy_hold_from=LONG_AGO)

        async def ended() -> bool:
            return (await place.row(session_id)).busy_hold_from is None

        await until(ended)
        row = await place.row(session_id)
        assert row.state == "idle"
        assert row.idle_from > LONG_AGO + timedelta(days=1)
        assert answer(await place.ask("still awake?")) == "You said: still awake?"


async def test_a_busy_hold_ends_beside_a_running_turn(place: World):
    async with place.operator():
        session_id = await place.create()
        turn_id = await place.post(bash("touch begun; while [ ! -e go ]; do sleep 0.05; done"))
        await place.until_file(session_id, "begun")
        await place.sessions.busy(place.admin, "demo")
        await place.change(session_id, busy_hold_from=LONG_AGO)

        async def ended() -> bool:
            return (await place.row(session_id)).busy_hold_from is None

        await until(ended)
        (place.settings.sessions_dir / str(session_id) / "go").touch()
        assert (await place.settled(turn_id)).status == "completed"


async def test_delete_while_busy_leaves_nothing(place: World):
    async with place.operator() as operator:
        session_id = await place.create()
        await place.post(bash("touch begun; sleep 1000"))
        await place.until_file(session_id, "begun")
        await place.agents.delete(place.admin, "demo")
        again = await place.create()

        async def gone() -> bool:
            return await place.row(session_id) is None

        await until(gone)
        assert not (place.settings.sessions_dir / str(session_id)).exists()
        await place.until_state(again, "idle")
        await until(lambda: list(operator.held) == [again])
        assert await place.driver.list() == [again]


async def test_delete_while_asleep_and_never_opened(place: World):
    asleep = await place.create("sleeper")
    await place.sessions.set_state(place.admin, "sleeper", "slept")
    await place.agents.delete(place.admin, "sleeper")
    async with place.operator():

        async def gone() -> bool:
            return await place.row(asleep) is None

        await until(gone)


async def test_changed_limits_count_from_the_next_wake_and_a_model_from_the_next_turn(place: World):
    opened: list[SandboxSpec] = []
    models: list[Listening] = []

    class Watched:
        def __getattr__(self, name: str) -> object:
            return getattr(place.driver, name)

        async def open(self, spec: SandboxSpec) -> object:
            opened.append(spec)
            return await place.driver.open(spec)

    def watched(parts: Parts) -> Parts:
        return listening(100_000, models)(
            dataclasses.replace(parts, premises=dataclasses.replace(parts.premises, driver=Watched()))
        )

    async with place.operator(parts=watched):
        await place.create(model="scripted-one", limits={"pids": 100, "memory_mb": 512})
        await place.ask("hello")
        await place.agents.update(place.admin, "demo", AgentChange(model="scripted-two", limits={"pids": 200}))
        await place.ask("again")
        assert [spec.limits.pids for spec in opened] == [100]
        await place.sessions.set_state(place.admin, "demo", "slept")
        await place.ask("and again")

    assert [(spec.limits.pids, spec.limits.memory_mb) for spec in opened] == [(100, 512), (200, 512)]
    assert models[0].named == ["scripted-one", "scripted-two", "scripted-two"]


async def test_a_host_that_cannot_isolate_is_an_error_that_says_so(place: World):
    class NoSandbox:
        def __init__(self) -> None:
            self.opened = 0

        def __getattr__(self, name: str) -> object:
            return getattr(place.driver, name)

        async def open(self, spec: SandboxSpec) -> object:  # noqa: ARG002  the contract's
            raise SandboxUnavailable("bubblewrap is not installed: run 'apt-get install bubblewrap'")

    def without(parts: Parts) -> Parts:
        return dataclasses.replace(parts, premises=dataclasses.replace(parts.premises, driver=NoSandbox()))

    async with place.operator(parts=without):
        session_id = await place.create()
        turn_id = await place.post("hello")
        await place.until_state(session_id, "error")
        turn = await place.turn(turn_id)
        assert turn.status == "failed"
        assert "apt-get install" in only(turn, "note")["text"]
        assert (await place.row(session_id)).held_by is None
    async with place.operator():
        assert answer(await place.ask("repaired?")) == "You said: repaired?"


async def test_a_sandbox_that_does_not_start_is_tried_again(place: World):
    class Stuttering:
        def __init__(self) -> None:
            self.opened = 0

        def __getattr__(self, name: str) -> object:
            return getattr(place.driver, name)

        async def open(self, spec: SandboxSpec) -> object:
            self.opened += 1
            if self.opened == 1:
                raise SandboxStartFailed("the first one did not come up")
            return await place.driver.open(spec)

    stuttering = Stuttering()

    def with_it(parts: Parts) -> Parts:
        return dataclasses.replace(parts, premises=dataclasses.replace(parts.premises, driver=stuttering))

    async with place.operator(parts=with_it):
        await place.create()
        assert answer(await place.ask("hello")) == "You said: hello"
        assert stuttering.opened == 2
