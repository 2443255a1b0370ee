"""Guardrails in whole turns: what the model never gets, and what nobody else ever sees."""

import asyncio
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from operating import World, kinds, only
from prompts import bash, fault, tool
from raworc.operator.dialect import Ask, Reply
from raworc.operator.model import Hear, Model
from raworc.operator.session import Parts
from raworc.services.recording import Recording
from raworc.store.notify import DeltaNotice
from raworc.store.recordings import RequestRow, SpoolPosition

pytestmark = pytest.mark.anyio


def sent(place: World) -> str:
    """All that went to the model and came from it, as it was recorded."""
    return "\n".join(frame.data.decode("utf-8", "replace") for frame in place.gate.frames())


async def test_a_blocked_input_never_reaches_the_model_not_even_as_history(place: World):
    async with place.operator():
        await place.create(guardrails=[{"type": "block", "on": "input", "pattern": "canary-\\d"}, "nonsense"])
        turn_id = await place.post("tell me about canary-7")
        turn = await place.settled(turn_id)
        assert turn.status == "failed"
        assert [segment["level"] for segment in turn.segments] == ["warning", "error"]
        assert (await place.turn_row(turn_id)).error["code"] == "input_blocked"
        assert (await place.ask("hello")).status == "completed"
    assert "canary-7" not in sent(place)
    assert "You said: hello" in sent(place)


async def test_a_blocked_output_is_seen_by_nobody(place: World):
    async with place.operator():
        session_id = await place.create(guardrails=[{"type": "block", "on": "output", "pattern": "canary-\\d"}])
        async with place.listener.subscribe(session_id) as notices:
            turn_id = await place.post(fault("canary-7 " * 40, chunk_delay_ms=10))
            turn = await place.settled(turn_id)
            heard = []
            while (notice := await notices.get(0.2)) is not None:
                heard.append(notice)
        assert turn.status == "failed"
        assert kinds(turn) == ["note"]
        assert (await place.turn_row(turn_id)).error["code"] == "output_blocked"
        assert not any(isinstance(notice, DeltaNotice) for notice in heard)
        assert all(step.content is None for step in await place.steps(turn_id))
        turn = await place.ask(bash("echo canary-$((3 + 4))"))
        assert only(turn, "tool_result")["output"] == "withheld: a guardrail of the agent blocks this output"
        assert "canary-7" not in json.dumps(turn.segments)


async def test_what_is_redacted_is_nowhere_to_be_seen(place: World):
    async with place.operator():
        session_id = await place.create(guardrails=[{"type": "redact", "pattern": "canary-\\d+"}])
        async with place.listener.subscribe(session_id) as notices:
            items = [{"type": "text", "content": "see canary-12"}]
            turn = await place.ask(
                "\n".join([bash("echo is canary-$((40 + 2)) > x; cat x"), tool("output", items=items)])
            )
            while (notice := await notices.get(0.2)) is not None:
                assert not isinstance(notice, DeltaNotice)
        assert turn.output_content == [{"type": "text", "content": "see [redacted]", "title": None}]
        assert only(turn, "final")["text"].startswith("is [redacted]\n")
        assert "canary" not in json.dumps(turn.segments).replace("canary-$", "")
        assert place.file(session_id, "x") == b"is canary-42\n"
    assert "canary-42" not in sent(place)


async def test_denied_tools_and_commands_are_not_run(place: World):
    rules = [
        {"type": "deny_commands", "pattern": "(?i)touch"},
        {"type": "deny_tools", "tools": ["write_file"]},
    ]
    async with place.operator():
        session_id = await place.create(guardrails=rules)
        calls = [bash("TOUCH=1; touch /agent/a"), tool("write_file", path="b", content="x"), bash("echo ok")]
        turn = await place.ask("\n".join(calls))
        results = [(s["output"], s["is_error"]) for s in turn.segments if s["type"] == "tool_result"]
        assert results == [
            ("not run: a guardrail of the agent denies this command", True),
            ("not run: a guardrail of the agent denies the tool 'write_file'", True),
            ("ok", False),
        ]
        assert place.file(session_id, "a") is None
        assert place.file(session_id, "b") is None
    assert '"name":"write_file","description"' not in sent(place)


class Priced(Model):
    """Its calls are in the ledger a moment after they were answered, at these costs, in order."""

    def __init__(self, place: World, model: Model, *costs: Decimal | None) -> None:
        super().__init__(model._client)
        self._place = place
        self._costs = iter(costs)
        self.loading: list[asyncio.Task[None]] = []

    async def ask(self, ask: Ask, hear: Hear) -> Reply:
        reply = await super().ask(ask, hear)
        self.loading.append(asyncio.create_task(self._load(ask.request_id, next(self._costs))))
        return reply

    async def _load(self, request_id: uuid.UUID, cost_usd: Decimal | None) -> None:
        (turn,) = await self._place.all_turns()
        row = RequestRow(
            id=request_id,
            created_at=datetime.now(UTC),
            caller="turn",
            train_id="default.demo",
            turn_id=turn.id,
            method="POST",
            path="/v1/messages",
            input_tokens=1,
            cost_usd=cost_usd,
        )
        await Recording(self._place.db, "node").load([row], SpoolPosition(uuid.uuid4(), 1, 0))


async def test_a_turn_ends_before_it_costs_more_than_allowed(place: World):
    """What has no known price does not count, and the turn says so, once."""

    def priced(parts: Parts) -> Parts:
        model = Priced(place, parts.desk.model, Decimal("0.3"), None, Decimal("0.3"), Decimal("0.3"))
        return replace(parts, desk=replace(parts.desk, model=model))

    async with place.operator(parts=priced):
        session_id = await place.create(guardrails=[{"type": "max_turn_cost_usd", "limit": 0.5}])
        turn_id = await place.post("\n".join(bash(f"echo {n} >> ran") for n in range(4)))
        turn = await place.settled(turn_id)
    assert (await place.turn_row(turn_id)).error["code"] == "cost_limit"
    assert place.file(session_id, "ran") == b"0\n1\n2\n"
    unpriced = [segment for segment in turn.segments if "no known price" in segment.get("text", "")]
    assert [segment["level"] for segment in unpriced] == ["warning"]


async def test_a_turn_ends_before_it_uses_more_tokens_than_allowed(place: World):
    async with place.operator():
        session_id = await place.create(guardrails=[{"type": "max_turn_tokens", "limit": 1}])
        turn_id = await place.post("\n".join(bash(f"echo {n} >> ran") for n in range(3)))
        turn = await place.settled(turn_id)
        assert kinds(turn) == ["tool_call", "tool_result", "note"]
        assert (await place.turn_row(turn_id)).error["code"] == "token_limit"
        assert place.file(session_id, "ran") == b"0\n"
        assert [step.tokens > 0 for step in await place.steps(turn_id)] == [True, False]
