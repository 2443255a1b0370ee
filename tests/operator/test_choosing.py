"""Several agents in one session: who answers, what that agent is told, and that a turn keeps who was chosen for it."""

import json
import uuid
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import select

from operating import World
from prompts import bash, tool
from raworc.domain.routing import ROUTING_INSTRUCTION
from raworc.errors import Conflict, NotFound
from raworc.ids import SessionId, TurnId, WorkerId, new_id
from raworc.operator.model import Ask, Hear, Model, ProviderError, Reply
from raworc.operator.session import HeldSession, Parts
from raworc.services.approvals import Verdict
from raworc.services.definitions import Definition, Definitions, Where
from raworc.services.holds import Hold
from raworc.services.messages import Message, NewMessage
from raworc.services.sessions import NewSession
from raworc.services.steps import Brief, Steps
from raworc.store.schema import segments, spaces
from raworc.wire.frames import Kind, unpack_start
from waiting import until

pytestmark = pytest.mark.anyio

PAY: dict[str, Any] = {"name": "pay", "description": "refunds and invoices"}
BUILD: dict[str, Any] = {"name": "build", "description": "compiles code"}


class Crash(Exception):
    """The worker is dead from here on."""


@dataclass
class Room:
    """A session of several agents."""

    place: World
    session_id: SessionId
    agent_ids: dict[str, uuid.UUID]

    async def post(self, text: str) -> uuid.UUID:
        made = await self.place.messages.post(self.place.admin, str(self.session_id), NewMessage(text))
        return made.id

    async def reply(self, turn_id: uuid.UUID) -> Message:
        """The answer to a message, once it is there."""

        async def settled() -> bool:
            return (await self.place.turn_row(turn_id)).status in {"completed", "failed", "cancelled"}

        await until(settled)
        row = await self.place.turn_row(turn_id)
        shown = await self.place.messages.page(self.place.admin, str(self.session_id), limit=100, offset=0)
        return next(message for message in shown if message.id == row.reply_id)

    async def say(self, text: str) -> Message:
        return await self.reply(await self.post(text))

    async def segments(self, turn_id: uuid.UUID) -> list[dict[str, Any]]:
        async with self.place.db.reading() as conn:
            found = select(segments.c.body).where(segments.c.turn_id == turn_id).order_by(segments.c.seq)
            return list((await conn.execute(found)).scalars())

    async def change(self, name: str, **fields: Any) -> None:
        await Definitions(self.place.db).update(
            self.place.admin, Where(str(self.agent_ids[name])), Definition(**fields)
        )

    def calls(self, turn_id: uuid.UUID) -> list[dict[str, Any]]:
        """A turn's requests to models, as they were recorded."""
        starts = [unpack_start(frame.data) for frame in self.place.gate.frames() if frame.kind is Kind.START]
        return [json.loads(body) for start, body in starts if start.turn_id == turn_id]


def is_question(call: dict[str, Any]) -> bool:
    return call["system"][0]["text"].startswith(ROUTING_INSTRUCTION)


def told(call: dict[str, Any]) -> list[str]:
    """All texts of a request's messages."""
    return [block["text"] for message in call["messages"] for block in message["content"] if block["type"] == "text"]


async def room(place: World, *agents: dict[str, Any]) -> Room:
    made: dict[str, uuid.UUID] = {}
    for fields in agents:
        wanted = {"instructions": f"You are {fields['name']}", "model": "scripted", **fields}
        row = await Definitions(place.db).create(place.admin, Definition(**wanted), "default")
        made[row.name] = row.id
    new = NewSession(name="room", agent_ids=[str(agent_id) for agent_id in made.values()])
    return Room(place, SessionId((await place.shared.create(place.admin, new)).id), made)


async def test_the_heaviest_rule_decides_without_a_model_and_bad_ones_are_noted_once(place: World):
    rules = [{"pattern": "(?i)code"}, {"pattern": "("}, "/build"]
    async with place.operator():
        here = await room(place, {**PAY, "routes": [{"keywords": ["code"], "weight": 2}]}, {**BUILD, "routes": rules})
        for text, name in (("the code", "pay"), ("encode", "build")):
            turn_id = await here.post(f"{text}\n{bash('true')}")
            assert (await here.reply(turn_id)).agent_name == name
            assert not any(is_question(call) for call in here.calls(turn_id))
            notes = [segment["text"] for segment in await here.segments(turn_id) if segment["type"] == "note"]
            assert [note for note in notes if "routes" in note] == [
                "'routes.1' of agent 'build' is ignored: its pattern cannot be read: missing ): (",
                "'routes.2' of agent 'build' is ignored: it is no object with either a 'pattern' or 'keywords'",
            ]


async def test_where_no_rule_matches_a_model_is_asked_and_the_call_is_the_turns_own(place: World):
    """The answer names an agent that neither order nor words would have chosen."""
    async with place.operator():
        here = await room(place, PAY, BUILD, {"name": "other", "routes": [{"pattern": "never"}]})
        turn_id = await here.post("refund: ask other")
        reply = await here.reply(turn_id)
        assert (reply.agent_name, reply.agent_id) == ("other", here.agent_ids["other"])
        question, call = here.calls(turn_id)
        assert json.loads(question["system"][0]["text"].removeprefix(ROUTING_INSTRUCTION)) == {
            "agents": [
                {"name": "pay", "purpose": "refunds and invoices"},
                {"name": "build", "purpose": "compiles code"},
                {"name": "other", "purpose": "You are other"},
            ],
            "answered_last": None,
        }
        assert "You are other" in call["system"][0]["text"]
        row = await place.turn_row(turn_id)
        assert row.model_calls == 2
        assert row.stepless_tokens > 0


class Deaf(Model):
    """Fails every question about who answers."""

    async def ask(self, ask: Ask, hear: Hear) -> Reply:
        if str(ask.prompt.system[0]["text"]).startswith(ROUTING_INSTRUCTION):
            raise ProviderError("overloaded_error", "Not now")
        return await super().ask(ask, hear)


async def test_without_an_answer_words_decide_and_without_words_the_order(place: World):
    def deaf(parts: Parts) -> Parts:
        return replace(parts, desk=replace(parts.desk, model=Deaf(place.client)))

    async with place.operator(parts=deaf):
        here = await room(place, PAY, BUILD)
        assert (await here.say("can you compile it? ask pay")).agent_name == "build"
        assert (await here.say("hello")).agent_name == "pay"


async def test_who_is_inactive_or_gone_takes_no_part_and_at_last_the_space_itself_answers(place: World):
    async with place.db.transaction() as conn:
        await conn.execute(spaces.update().values(settings={"default_model": "scripted-of-the-space"}))
    async with place.operator():
        here = await room(place, PAY, BUILD)
        await here.change("pay", active=False)
        assert (await here.say("pay, a refund")).agent_name == "build"
        await Definitions(place.db).delete(place.admin, Where(str(here.agent_ids["build"])))
        turn_id = await here.post("pay, a refund")
        reply = await here.reply(turn_id)
        assert (reply.role, reply.agent_id, reply.agent_name) == ("AGENT", None, None)
        assert [call["model"] for call in here.calls(turn_id)] == ["scripted-of-the-space"]


async def test_the_agent_that_answers_brings_its_own_guardrails_tools_and_model(place: World):
    rules = [{"type": "redact", "pattern": "canary-\\d"}, {"type": "deny_tools", "tools": ["read_file"]}]
    pay = {**PAY, "guardrails": rules, "tools": ["bash"], "model": "scripted-pay"}
    async with place.operator():
        here = await room(place, pay, BUILD)
        turn_id = await here.post("pay: canary-7")
        assert (await here.reply(turn_id)).content == "You said: pay: [redacted]"
        call = here.calls(turn_id)[1]
        assert (call["model"], [tool["name"] for tool in call["tools"]]) == ("scripted-pay", ["bash"])
        turn_id = await here.post("build: canary-7")
        assert (await here.reply(turn_id)).content == "You said: build: canary-7"
        assert "read_file" in [tool["name"] for tool in here.calls(turn_id)[1]["tools"]]


async def test_what_one_of_them_keeps_from_models_is_asked_of_none_before_it_is_decided(place: World):
    async with place.operator():
        here = await room(place, {**PAY, "guardrails": [{"type": "block", "on": "input", "pattern": "canary"}]}, BUILD)
        turn_id = await here.post("compile the canary, pay")
        assert (await here.reply(turn_id)).agent_name == "build"
        assert [is_question(call) for call in here.calls(turn_id)] == [False]
        turn_id = await here.post("refund the canary")
        assert (await here.reply(turn_id)).role == "SYSTEM"
        assert (await place.turn_row(turn_id)).error["code"] == "input_blocked"
        assert here.calls(turn_id) == []


async def test_an_agent_is_told_the_whole_session_and_which_answers_were_others(place: World):
    async with place.operator():
        here = await room(place, PAY, BUILD)
        for text in ("pay one", "build two", "pay three"):
            turn_id = await here.post(text)
            await here.reply(turn_id)
        question, call = here.calls(turn_id)
        assert '"answered_last": "build"' in question["system"][0]["text"]
        assert told(call) == [
            "pay one",
            "You said: pay one",
            "build two",
            "(The agent 'build' answered this.)",
            "You said: build two",
            "pay three",
        ]


class DiesWhenRouted(Steps):
    """Its worker dies after, or before, it is stored who answers."""

    stores = True

    async def route(self, hold: Hold, turn_id: TurnId, agent: Brief) -> None:
        if self.stores:
            await super().route(hold, turn_id, agent)
        raise Crash


class DiesBeforeRouted(DiesWhenRouted):
    stores = False


@pytest.mark.parametrize(("dying", "name"), [(DiesWhenRouted, "build"), (DiesBeforeRouted, "pay")])
async def test_whoever_goes_on_with_a_turn_keeps_to_what_was_stored(place: World, dying: type[Steps], name: str):
    here = await room(place, PAY, BUILD)
    turn_id = await here.post("build")
    worker_id = WorkerId(new_id())
    hold, holds = await place.claimed(here.session_id, worker_id)
    with pytest.raises(Crash):
        await HeldSession(place.parts(holds, steps=dying(place.db)), hold).run()
    place.dead.add(worker_id)
    await here.change("build", active=False)
    async with place.operator():
        assert (await here.reply(turn_id)).agent_name == name


async def test_a_person_decides_about_a_call_of_an_agent_of_the_session(place: World):
    async with place.operator():
        here = await room(place, {**PAY, "guardrails": [{"type": "approve_tools", "tools": ["bash"]}]}, BUILD)
        which, verdict = str(here.session_id), Verdict("approve")
        turn_id = await here.post(f"refund pay\n{bash('echo done')}")
        await until(lambda: place.approvals.open_in_session(place.admin, which))
        (waiting,) = await place.approvals.open_in_session(place.admin, which)
        assert (waiting.tool, waiting.args) == ("bash", {"command": "echo done"})
        with pytest.raises(NotFound, match="has no approval"):
            await place.approvals.decide_in_session(place.admin, which, new_id(), verdict)
        for _ in range(2):
            decided = await place.approvals.decide_in_session(place.admin, which, waiting.id, verdict)
            assert (decided.decision, decided.decided_by) == ("approve", "admin")
        assert (await here.reply(turn_id)).content == "done"
        with pytest.raises(Conflict, match="was approved by 'admin' already"):
            await place.approvals.decide_in_session(place.admin, which, waiting.id, Verdict("deny"))


async def test_the_agent_that_answers_searches_what_it_knows(place: World):
    knows = [{"name": "prices", "text": "A boat costs 12 euros"}]
    async with place.operator():
        here = await room(place, {**PAY, "knowledge_bases": knows}, BUILD)
        assert (await here.say(f"pay\n{tool('search_knowledge', query='boat')}")).content.startswith("[prices]")
        assert "Unknown tool" in (await here.say(f"build\n{tool('search_knowledge', query='boat')}")).content
