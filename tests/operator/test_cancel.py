"""Turns that are ended by someone else, in each phase, and commands that do not want to end."""

import pytest

from operating import World, answer, kinds, only
from raworc.errors import TurnSettled
from raworc.services.turns import TurnChange
from waiting import until

pytestmark = pytest.mark.anyio


def bash(command: str) -> str:
    return f"```bash\n{command}\n```"


def slow(prompt: str) -> str:
    return f'{prompt}\n```fault\n{{"delay_ms": 60000}}\n```'


async def cancelled(place: World, turn_id) -> None:
    assert (await place.sessions.cancel(place.admin, "demo")).cancelled
    turn = await place.settled(turn_id)
    assert turn.status == "cancelled"
    assert only(turn, "cancelled")["reason"] == "user_cancel"


async def test_before_it_begins(place: World):
    await place.create()
    turn_id = await place.post("hello")
    await cancelled(place, turn_id)
    async with place.operator():
        assert answer(await place.ask("next")) == "You said: next"
        assert await place.steps(turn_id) == []


async def test_while_the_setup_runs(place: World):
    async with place.operator():
        session_id = await place.create(setup="touch begun; sleep 1")
        turn_id = await place.post("hello")
        await place.until_file(session_id, "begun")
        await cancelled(place, turn_id)
        assert answer(await place.ask("next")) == "You said: next"


async def test_while_the_model_thinks(place: World):
    async with place.operator():
        await place.create()
        turn_id = await place.post(slow("hello"))

        async def asked() -> bool:
            return len(await place.steps(turn_id)) == 1

        await until(asked)
        await cancelled(place, turn_id)
        assert answer(await place.ask("next")) == "You said: next"
        assert kinds(await place.turn(turn_id)) == ["cancelled"]


@pytest.mark.parametrize("stubborn", ["sleep 1000", "trap '' TERM INT HUP; while :; do sleep 1; done"])
async def test_while_a_command_runs(place: World, stubborn: str):
    async with place.operator() as operator:
        session_id = await place.create()
        turn_id = await place.post(bash(f"touch begun; (sleep 3; touch survived) & {stubborn}"))
        await place.until_file(session_id, "begun")
        await cancelled(place, turn_id)
        posted = await place.post(bash("pgrep -c sleep; pgrep -af trap"))
        turn = await place.settled(posted)
        assert only(turn, "tool_result")["output"].startswith("0\n")
        assert place.file(session_id, "survived") is None
        assert list(operator.held) == [session_id]


async def test_after_it_ended_there_is_nothing_to_cancel(place: World):
    async with place.operator():
        await place.create()
        turn = await place.ask("hello")
        assert not (await place.sessions.cancel(place.admin, "demo")).cancelled
        assert (await place.turn(turn.id)).status == "completed"


async def test_the_queue_goes_on(place: World):
    async with place.operator():
        session_id = await place.create()
        first = await place.post(bash("touch begun; sleep 1000"))
        rest = [await place.post(f"number {n}") for n in range(3)]
        await place.until_file(session_id, "begun")
        await cancelled(place, first)
        assert [answer(await place.settled(turn_id)) for turn_id in rest] == [f"You said: number {n}" for n in range(3)]


async def test_an_interrupting_input_takes_the_place(place: World):
    async with place.operator():
        session_id = await place.create()
        first = await place.post(bash("touch begun; sleep 1000"))
        await place.until_file(session_id, "begun")
        second = await place.post("now this", when_busy="interrupt")
        assert answer(await place.settled(second)) == "You said: now this"
        assert only(await place.turn(first), "cancelled")["reason"] == "interrupt"


async def test_an_outside_writer_settles_a_turn_and_its_command_is_stopped(place: World):
    async with place.operator():
        session_id = await place.create()
        turn_id = await place.post(bash("touch begun; sleep 1000; touch survived"))
        await place.until_file(session_id, "begun")
        change = TurnChange(status="completed", output={"text": "done elsewhere"})
        await place.turns.change(place.admin, "demo", turn_id, change)
        assert only(await place.ask(bash("pgrep -c sleep")), "tool_result")["output"].startswith("0")
        turn = await place.turn(turn_id)
        assert answer(turn) == "done elsewhere"
        assert kinds(turn) == ["tool_call"]


async def test_a_wish_in_the_row_is_honoured_too(place: World):
    """`turns.cancel_reason` on a processing turn: what a server of an older release would leave."""
    async with place.operator() as operator:
        session_id = await place.create()
        turn_id = await place.post(bash("touch begun; sleep 1000"))
        await place.until_file(session_id, "begun")
        await place.wish_cancel(turn_id, "user_cancel")
        turn = await place.settled(turn_id)
        assert (turn.status, only(turn, "cancelled")["reason"]) == ("cancelled", "user_cancel")
        await place.until_state(session_id, "idle")
        assert list(operator.held) == [session_id]


async def test_a_settled_turn_takes_no_more_steps(place: World):
    await place.create()
    turn_id = await place.post("hello")
    hold, holds = await place.claimed(await place.session_of("demo"))
    steps = place.parts(holds).desk.steps
    await place.sessions.cancel(place.admin, "demo")
    with pytest.raises(TurnSettled):
        await steps.take(hold, turn_id, turn_id)
    assert await place.steps(turn_id) == []
