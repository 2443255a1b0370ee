"""The context of agents that really work: measured, cleared, compacted by wish, brought back."""

import asyncio
from dataclasses import replace

import pytest

from operating import World, answer, kinds, only
from raworc.domain.compaction import used_tokens
from raworc.domain.summary import SUMMARY_INSTRUCTION, continuing
from raworc.errors import Conflict, Unavailable
from raworc.ids import TurnId, new_id
from raworc.operator.dialect import Ask, Reply
from raworc.operator.model import Hear, Model, ProviderError
from raworc.operator.session import Parts
from raworc.services.steps import Steps
from recall import (
    DyingLater,
    DyingSteps,
    Listening,
    agent,
    any_pending,
    compact,
    cutoffs,
    die,
    heard,
    listening,
    newest,
    texts,
)
from waiting import until

pytestmark = pytest.mark.anyio

SLOW = "```bash\ntouch begun; sleep 1000\n```"


# ── how full ─────────────────────────────────────────────────────────────────────────────────────────
async def test_a_context_is_measured_in_characters_of_what_was_said(place: World):
    async with place.operator():
        await place.create(instructions="Instructions do not count. " * 100)
        empty = await place.context.usage(place.admin, "DEMO")
        assert (empty.agent, empty.used_tokens_estimated, empty.total_messages_considered) == ("demo", 0, 0)
        await place.ask("hello")
        said = await place.context.usage(place.admin, "demo")
        assert said.used_tokens_estimated == -(-len("hello" + "You said: hello") // 4)
        assert (said.total_messages_considered, said.basis) == (2, "estimated_from_history_chars")
        assert (said.soft_limit_tokens, said.used_percent, said.cutoff_at) == (100_000, 0.0, None)
        await place.ask("```bash\nhead -c 4000 /dev/zero | tr '\\0' x\n```")
        worked = await place.context.usage(place.admin, "demo")
        assert worked.total_messages_considered == 6
        assert worked.used_tokens_estimated == pytest.approx(2000 + 40, abs=30)
        assert worked.used_percent == 2.0
        assert worked.measured_at > said.measured_at


async def test_it_is_measured_alike_in_the_database_and_by_the_operator(place: World):
    session_id = await place.create()
    async with place.operator():
        await place.ask("héllo 😀\n```bash\nprintf 'ä\"\\n'; exit 3\n```")
        await compact(place)
        await place.ask("```tool\n" + '{"name":"list_files","input":{"path":"ü"}}' + "\n```")
        await place.ask("bye")
    measured = await place.context.usage(place.admin, "demo")
    await place.post("a question")
    hold, _ = await place.claimed(session_id)
    turn_id = TurnId((await newest(place)).id)
    work = await Steps(place.db).take(hold, turn_id, new_id())
    assert work.past
    assert work.summary
    assert used_tokens(work.past, work.summary) == measured.used_tokens_estimated


# ── by wish ──────────────────────────────────────────────────────────────────────────────────────────
async def test_what_is_cleared_is_told_to_no_model_and_stays_readable(place: World):
    async with place.operator():
        await place.create()
        first = await place.ask("my name is Ann")
        usage = await place.context.clear(place.admin, "demo")
        assert (usage.used_tokens_estimated, usage.used_percent, usage.total_messages_considered) == (0, 0.0, 0)
        assert usage.cutoff_at == (await agent(place)).context_cutoff_at
        marker = await newest(place)
        assert (marker.status, marker.input_content, marker.output_content) == ("completed", [], [])
        told = only(marker, "context_cleared")
        assert told["text"] == "Context Cleared"
        assert told["cutoff_at"] == f"{usage.cutoff_at:%Y-%m-%dT%H:%M:%S.%fZ}"
    assert texts(await heard(place)) == ["what was said?"]
    assert await place.turn(first.id) == first


async def test_compacting_leaves_a_summary_that_the_history_starts_with(place: World):
    async with place.operator():
        await place.create()
        await place.ask("build a boat")
        await place.ask("```bash\necho painted\n```")
        before = await place.context.usage(place.admin, "demo")
        usage = await compact(place)
        summary = "Summary of 2 user messages:\n1. build a boat\n2. ```bash echo painted ```"
        assert usage.used_tokens_estimated == -(-len(summary) // 4)
        assert usage.used_tokens_estimated != before.used_tokens_estimated
        assert usage.total_messages_considered == 1
        assert usage.cutoff_at == (await agent(place)).context_cutoff_at
        marker = await newest(place)
        assert (marker.status, marker.input_content) == ("completed", [])
        assert marker.output_content == [{"type": "text", "content": summary}]
        told = only(marker, "context_compacted")
        assert (told["text"], told["summary"]) == ("Context Compacted", summary)
        assert answer(await place.ask("next")) == "You said: next"
        await compact(place)
    assert texts(await heard(place))[0] == continuing(f"{summary}\n3. next".replace("of 2", "of 3"))
    assert texts(await heard(place))[-1] == "what was said?"


async def test_restoring_takes_the_newest_cutoff_back(place: World):
    async with place.operator():
        await place.create()
        with pytest.raises(Conflict, match="no cutoff to take back"):
            await place.context.restore(place.admin, "demo")
        await place.ask("one")
        cleared = await place.context.clear(place.admin, "demo")
        await place.ask("two")
        await compact(place)
        await place.ask("three")
        usage = await place.context.restore(place.admin, "demo")
        assert usage.cutoff_at == cleared.cutoff_at == (await agent(place)).context_cutoff_at
        assert usage.total_messages_considered == 4
        told = only(await newest(place), "context_restored")
        assert told["cutoff_at"] == f"{cleared.cutoff_at:%Y-%m-%dT%H:%M:%S.%fZ}"
        usage = await place.context.restore(place.admin, "demo")
        assert (usage.cutoff_at, (await agent(place)).context_cutoff_at) == (None, None)
        assert only(await newest(place), "context_restored")["cutoff_at"] is None
    assert texts(await heard(place))[::2] == ["one", "two", "three", "what was said?"]


async def test_with_nothing_said_there_is_a_marker_and_no_model_call(place: World):
    models: list[Listening] = []
    async with place.operator(parts=listening(100_000, models)):
        await place.create()
        usage = await compact(place)
        assert (usage.used_tokens_estimated, usage.total_messages_considered) == (0, 0)
        assert only(await newest(place), "context_compacted")["summary"] == "Nothing had been said yet."
        await place.ask("one")
        await compact(place)
        await compact(place)
        assert only(await newest(place), "context_compacted")["summary"] == "Summary of 1 user messages:\n1. one"
        assert models[0].summaries == 1


async def test_a_sleeping_agent_wakes_to_be_compacted_and_need_not_to_be_cleared(place: World):
    async with place.operator():
        session_id = await place.create()
        await place.ask("one")
        await place.sessions.set_state(place.admin, "demo", "slept")
        await place.until_state(session_id, "slept")
        await place.context.clear(place.admin, "demo")
        await place.context.restore(place.admin, "demo")
        assert (await place.row(session_id)).state == "slept"
        assert (await compact(place)).total_messages_considered == 1
        assert (await place.row(session_id)).state == "idle"
        assert "woke" in [kind for turn in await place.all_turns() for kind in kinds(turn)]


async def test_while_there_is_work_nothing_is_compacted(place: World):
    async with place.operator():
        session_id = await place.create()
        turn_id = await place.post(SLOW)
        await place.until_file(session_id, "begun")
        with pytest.raises(Conflict, match="is busy"):
            await compact(place)
        queued = await place.post("queued")
        cleared = await place.context.clear(place.admin, "demo")
        assert cleared.used_tokens_estimated == 0
        await place.sessions.cancel(place.admin, "demo")
        await place.settled(turn_id)
        await place.settled(queued)
    assert texts(await heard(place)) == ["queued", "You said: queued", "what was said?"]


async def test_of_two_at_once_one_is_told_to_wait(place: World):
    async with place.operator():
        await place.create()
        await place.ask("one")
        outcomes = await asyncio.gather(compact(place), compact(place), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "ContextUsage"]


# ── when it does not go well ─────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("code", "error"), [("overloaded_error", Unavailable), ("not_found_error", Conflict), ("no_summary", Conflict)]
)
async def test_a_model_that_refuses_changes_nothing(place: World, code: str, error: type[Exception]):
    models: list[Listening] = []
    async with place.operator(parts=listening(100_000, models, ProviderError(code, "not today"))):
        session_id = await place.create()
        await place.ask("one")
        with pytest.raises(error, match="was not compacted: not today"):
            await compact(place)
        marker = await newest(place)
        assert (marker.status, kinds(marker), marker.output_content) == ("failed", ["note"], [])
        assert (await agent(place)).context_cutoff_at is None
        assert (await place.row(session_id)).state == "idle"
        assert answer(await place.ask("two")) == "You said: two"
        assert texts(models[0].asked[-1]) == ["one", "You said: one", "two"]


async def test_a_compaction_that_is_cancelled_changes_nothing(place: World):
    class Silent(Listening):
        async def ask(self, ask: Ask, hear: Hear) -> Reply:
            if SUMMARY_INSTRUCTION in str(ask.prompt.messages[-1]):
                self.asked.append([])
                await asyncio.Event().wait()
            return await super().ask(ask, hear)

    def change(parts: Parts) -> Parts:
        return replace(parts, desk=replace(parts.desk, model=model))

    model = Silent(Model(place.client))
    async with place.operator(parts=change):
        session_id = await place.create()
        await place.ask("one")
        compacting = asyncio.create_task(compact(place))
        await until(lambda: [] in model.asked)
        assert await place.sessions.cancel(place.admin, "demo")
        with pytest.raises(Conflict, match="that was cancelled"):
            await compacting
        await place.until_state(session_id, "idle")
        assert (await agent(place)).context_cutoff_at is None
        assert answer(await place.ask("two")) == "You said: two"


@pytest.mark.parametrize("steps", [DyingSteps, DyingLater])
async def test_an_operator_that_dies_while_it_compacts_is_followed_by_another_one(
    place: World, steps: type[DyingSteps]
):
    session_id = await place.create()
    async with place.operator():
        await place.ask("one")
    compacting = asyncio.create_task(compact(place))
    await until(lambda: any_pending(place))
    await die(place, session_id, steps)
    async with place.operator():
        assert (await compacting).total_messages_considered == 1
        assert kinds(await newest(place)) == ["context_compacted"]
        assert len(await cutoffs(place, session_id)) == 1
        assert (await place.row(session_id)).state == "idle"
