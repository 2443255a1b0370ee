"""Turns of code agents: their handlers answer, once, with the space's secrets and models, warm or not."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from coded import Coded, added, built, coded
from operating import World
from raworc.ids import SessionId, WorkerId, new_id
from raworc.operator.session import HeldSession, Parts
from raworc.services.messages import Message
from raworc.services.secrets import Secrets
from raworc.services.session_states import SessionStates
from raworc.services.space_secrets import NewSpaceSecret, SpaceSecrets
from raworc.services.steps import Started, Steps
from raworc.store.agent_logs import newest
from raworc.store.database import Database
from raworc.store.schema import agents, segments, steps, turns
from raworc.wire.frames import CallStart, Kind, unpack_start
from waiting import until

pytestmark = pytest.mark.anyio

CANARY = "canary-77aa-of-the-space"


async def deploy(place: World, agent: Coded) -> None:
    await place.shelf.deployments.begin(place.admin, "default", agent.name)


async def log_of(place: World, agent: Coded) -> str:
    async with place.db.reading() as conn:
        return "\n".join(f"{row.level} {row.line}" for row in await newest(conn, agent.agent_id, 1000))


async def until_log(place: World, agent: Coded, holds: Callable[[str], bool]) -> str:
    async def there() -> bool:
        return holds(await log_of(place, agent))

    await until(there)
    return await log_of(place, agent)


async def failure(place: World, message: Message) -> dict[str, Any]:
    """Why the turn of an answer failed."""
    async with place.db.reading() as conn:
        return await conn.scalar(select(turns.c.error).where(turns.c.reply_id == message.id))


def calls(place: World) -> list[CallStart]:
    return [unpack_start(frame.data)[0] for frame in place.gate.frames() if frame.kind is Kind.START]


async def turn_of(place: World, session_id: SessionId) -> Any:
    async with place.db.reading() as conn:
        wanted = select(turns).where(turns.c.session_id == session_id).order_by(turns.c.number.desc()).limit(1)
        return (await conn.execute(wanted)).one()


async def test_a_handler_answers_with_what_it_is_told_and_given(place: World):
    sealed = SpaceSecrets(place.db, Secrets(b"m" * 32))
    await sealed.create(place.admin, "default", NewSpaceSecret("TOKEN_OF_SPACE", CANARY))
    agent = await coded(place)
    async with place.operator():
        session_id = await place.begin()
        reply = await place.reply(session_id, "about")
        assert (reply.role, reply.agent_id, reply.agent_name) == ("AGENT", agent.agent_id, "coder")
        told = json.loads(reply.content)
        assert isinstance(told.pop("timestamp"), int)
        assert told == {
            "session_id": str(session_id),
            "space": "default",
            "created_by": "admin",
            "agent": "coder",
            "secret": CANARY,
        }
        turn = await turn_of(place, session_id)
        async with place.db.reading() as conn:
            (step,) = (await conn.execute(select(steps).where(steps.c.turn_id == turn.id))).all()
            kinds = (await conn.scalars(select(segments.c.type).where(segments.c.turn_id == turn.id))).all()
        assert (step.kind, step.state, step.number, turn.model_calls, kinds) == ("handler", "done", 1, 0, ["final"])
        await place.reply(session_id, "log")
        log = await until_log(place, agent, lambda log: "the secret is" in log)
        assert CANARY not in log
        assert "eyJ" not in log
        assert "INFO Handler started: main.process_message (python3)" in log


async def test_model_calls_are_booked_to_the_turn_and_the_agent(place: World):
    await coded(place)
    async with place.operator():
        session_id = await place.begin()
        assert (await place.reply(session_id, "model")).content == "You said: hello"
        turn = await turn_of(place, session_id)
    (call,) = calls(place)
    assert (call.caller, call.session_id, call.turn_id) == ("sandbox", session_id, turn.id)
    assert (call.train_id, call.space) == ("default.coder", "default")


async def test_a_deployed_handler_stays_warm_until_it_is_stopped(place: World):
    agent = await coded(place)
    async with place.operator():
        session_id = await place.begin()
        assert [(await place.reply(session_id, text)).content for text in "ab"] == ["1 1", "1 1"]
        await deploy(place, agent)
        assert [(await place.reply(session_id, text)).content for text in "cde"] == ["1 1", "1 2", "1 3"]
        before = (await log_of(place, agent)).count("Handler ended")
        await place.shelf.deployments.end(place.admin, "default", "coder")
        await until_log(place, agent, lambda log: log.count("Handler ended") == before + 1)
        assert [(await place.reply(session_id, text)).content for text in "fg"] == ["1 1", "1 1"]


async def test_a_warm_handler_keeps_its_memory_in_a_pause_and_loses_it_asleep(place: World):
    agent = await coded(place)
    await deploy(place, agent)
    states = SessionStates(place.db)
    async with place.operator():
        session_id = await place.begin()
        assert (await place.reply(session_id, "a")).content == "1 1"
        await states.pause(place.admin, str(session_id))
        await place.until_frozen(session_id)
        await place.say(session_id, "b")
        await states.resume(place.admin, str(session_id))
        assert (await place.next_reply(session_id)).content == "1 2"
        await states.suspend(place.admin, str(session_id))
        await place.until_state(session_id, "slept")
        assert (await place.reply(session_id, "c")).content == "1 1"


async def test_a_deployed_handler_may_ask_models_between_turns(place: World):
    agent = await coded(place)
    await deploy(place, agent)
    async with place.operator():
        session_id = await place.begin()
        assert (await place.reply(session_id, "background")).content == "1 1"
        await place.until_state(session_id, "idle")
        (place.settings.sessions_dir / str(session_id) / "settled").touch()
        await place.until_file(session_id, "between", b"You said: between turns")
    (call,) = calls(place)
    assert (call.caller, call.session_id, call.turn_id, call.train_id) == ("sandbox", session_id, None, "default.coder")


async def test_one_that_fails_answers_why_and_its_log_says_where(place: World):
    agent = await coded(place)
    async with place.operator():
        session_id = await place.begin()
        reply = await place.reply(session_id, "raise")
        assert reply.role == "SYSTEM"
        assert "The handler of 'coder' failed: ValueError: no such thing" in reply.content
        assert (await failure(place, reply))["code"] == "handler_failed"
        log = await until_log(place, agent, lambda log: "ValueError" in log)
        assert 'ERROR   File "/opt/agents/coder/main.py", line ' in log
        assert (await place.reply(session_id, "again")).content == "1 1"


async def test_an_endless_one_is_cancelled_or_runs_out_of_time(place: World):
    agent = await coded(place)

    def hasty(parts: Parts) -> Parts:
        return replace(parts, premises=replace(parts.premises, shelf=replace(place.shelf, timeout_s=1.0)))

    async with place.operator(parts=hasty):
        session_id = await place.begin()
        reply = await place.reply(session_id, "hang")
        assert await failure(place, reply) == {
            "code": "handler_timeout",
            "message": "The handler of 'coder' did not answer within 1 s and was ended",
        }
    await deploy(place, agent)
    async with place.operator():
        other = await place.begin()
        await place.say(other, "hang")
        await place.until_file(other, "hangs")
        await place.wish_cancel((await turn_of(place, other)).id, "enough")
        assert (await place.next_reply(other)).role == "SYSTEM"
        assert (await place.reply(other, "again")).content == "1 1"


class Crash(Exception):
    """The worker is dead from here on."""


class DyingSteps(Steps):
    """Dies before or after the handler's step begins, or before its answer is stored."""

    def __init__(self, db: Database, where: str) -> None:
        super().__init__(db)
        self._where = where

    async def start(self, hold: Any, turn_id: Any, step: Started) -> None:
        if self._where == "before":
            raise Crash
        await super().start(hold, turn_id, step)
        if self._where == "begun":
            raise Crash

    async def settle(self, *_: object) -> None:
        raise Crash


@pytest.mark.parametrize(("where", "ran"), [("before", b"x"), ("begun", None), ("answered", b"x")])
async def test_one_that_was_cut_is_not_asked_again(place: World, where: str, ran: bytes | None):
    await coded(place)
    session_id = await place.begin()
    await place.say(session_id, "hello")
    worker_id = WorkerId(new_id())
    hold, holds = await place.claimed(session_id, worker_id)
    with pytest.raises(Crash):
        await HeldSession(place.parts(holds, steps=DyingSteps(place.db, where)), hold).run()
    place.dead.add(worker_id)
    async with place.operator():
        reply = await place.next_reply(session_id)
        if where == "before":
            assert (reply.role, reply.content) == ("AGENT", "1 1")
        else:
            assert (await failure(place, reply))["code"] == "handler_cut"
            assert "outcome unknown" in reply.content
        assert place.file(session_id, "ran") == ran


async def test_a_sandbox_that_dies_under_a_handler_is_told(place: World):
    await coded(place)
    async with place.operator():
        session_id = await place.begin()
        await place.say(session_id, "hang")
        await place.until_file(session_id, "hangs")
        await place.driver.reap(session_id)
        reply = await place.next_reply(session_id)
        assert (await failure(place, reply))["code"] == "sandbox_died"
        assert (await place.reply(session_id, "again")).content == "1 1"


async def test_newer_code_answers_from_the_next_message_on(place: World):
    agent = await coded(place)
    await deploy(place, agent)
    async with place.operator():
        session_id = await place.begin()
        assert (await place.reply(session_id, "a")).content == "1 1"
        first = (await place.row(session_id)).sandbox_id
        await built(place, agent, 2)
        assert (await place.reply(session_id, "b")).content == "2 1"

        async def another_is_shown() -> bool:
            return (await place.row(session_id)).sandbox_id not in {None, first}

        await until(another_is_shown)
        async with place.db.reading() as conn:
            wanted = select(segments.c.body).where(segments.c.type == "note")
            notes = [body["text"] for body in await conn.scalars(wanted)]
        assert [text for text in notes if text.startswith("The sandbox was opened again")], notes
        assert (await place.reply(session_id, "c")).content == "2 2"
        assert place.file(session_id, "ran") == b"xxx"


async def test_several_agents_answer_in_one_session_each_with_its_own_program(place: World):
    weather = await added(place, "weather", purpose="weather forecasts, rain, sunshine")
    money = await added(place, "money", purpose="invoices, prices, taxes")
    await built(place, weather, 1, money)
    await deploy(place, weather)
    await deploy(place, money)
    async with place.operator():
        session_id = await place.begin()
        said = [await place.reply(session_id, text) for text in ("is there rain", "which taxes", "some sunshine")]
        assert [(one.agent_name, one.content) for one in said] == [
            ("weather", "1 1"),
            ("money", "1 1"),
            ("weather", "1 2"),
        ]
        turn = await turn_of(place, session_id)
        async with place.db.transaction() as conn:
            await conn.execute(update(agents).where(agents.c.id == money.agent_id).values(active=False))
        assert (await place.reply(session_id, "which taxes")).agent_name == "weather"
    assert turn.model_calls <= 1, "the call that chose, and none for the handler"


async def test_code_in_use_is_not_swept_away(place: World):
    agent = await coded(place)
    results = place.shelf.results
    async with place.operator():
        session_id = await place.begin()
        assert (await place.reply(session_id, "a")).content == "1 1"
        (digest,) = results.names()
        assert results.sweep([digest], 0) == []
        await built(place, agent, 2)
        assert (await place.reply(session_id, "b")).content == "2 1"
        assert results.sweep([digest], 0) == [digest]


async def test_what_cannot_be_run_says_why(place: World):
    agent = await added(place)
    async with place.operator():
        session_id = await place.begin()
        reply = await place.reply(session_id, "a")
        assert (await failure(place, reply))["code"] == "handler_not_built"
        assert "GET /spaces/default/build/latest" in reply.content
        await built(place, agent, 1, node="elsewhere")
        assert (await failure(place, await place.reply(session_id, "b")))["code"] == "handler_elsewhere"
        await built(place, agent, 1, digest="0" * 64)
        reply = await place.reply(session_id, "c")
        assert "is not on this node any more: have its space built again" in reply.content
        await built(place, agent, 1)
        assert (await place.reply(session_id, "d")).content == "1 1"


async def test_guardrails_hold_for_handlers_too(place: World):
    rules = [
        {"type": "block", "on": "input", "pattern": "forbidden"},
        {"type": "redact", "pattern": "1 \\d"},
        {"type": "block", "on": "output", "pattern": "You said"},
    ]
    await coded(place, guardrails=rules)
    async with place.operator():
        session_id = await place.begin()
        assert (await place.reply(session_id, "forbidden")).role == "SYSTEM"
        assert place.file(session_id, "ran") is None
        assert (await place.reply(session_id, "model")).role == "SYSTEM"
        assert (await place.reply(session_id, "hello")).content != "1 1"
