"""Contexts that are compacted by themselves: before a call, also in the middle of a turn."""

from dataclasses import replace

import pytest

from operating import World, answer, kinds, only
from raworc.domain.summary import continuing
from raworc.operator.model import ProviderError
from raworc.operator.session import Parts
from raworc.services.agents import AgentChange
from recall import DyingLater, Listening, agent, cutoffs, die, heard, listening, texts

pytestmark = pytest.mark.anyio


async def test_a_context_that_is_nearly_full_is_compacted_before_the_next_call(place: World):
    models: list[Listening] = []
    async with place.operator(parts=listening(100, models)):
        await place.create()
        await place.ask("x" * 160)
        assert models[0].summaries == 0, "80 % is not yet full"
        turn = await place.ask("y" * 40)
        assert models[0].summaries == 1
        assert answer(turn) == "You said: " + "y" * 40
        assert kinds(turn) == ["note", "context_compacted", "final"]
        assert "was 93 % full" in only(turn, "note")["text"]
        told = only(turn, "context_compacted")
        assert told["summary"] == "Summary of 1 user messages:\n1. " + "x" * 80
        assert told["cutoff_at"] == f"{(await agent(place)).context_cutoff_at:%Y-%m-%dT%H:%M:%S.%fZ}"
        assert texts(models[0].asked[-1])[0] == continuing(str(told["summary"]))
    said = texts(await heard(place))
    assert said[0] == continuing(str(told["summary"]))
    assert said[2:] == ["y" * 40, "You said: " + "y" * 40, "what was said?"]


async def test_a_long_session_stops_growing(place: World):
    models: list[Listening] = []
    async with place.operator(parts=listening(120, models)):
        await place.create()
        for number in range(25):
            assert answer(await place.ask(f"{number} is a number")) == f"You said: {number} is a number"
        asked = [sum(map(len, texts(messages))) for messages in models[0].asked]
        assert max(asked) < 1800
        assert models[0].summaries >= 2
        for number in range(25):
            assert f"{number} is a number" in str(models[0].asked[-1])


async def test_a_long_turn_is_compacted_in_the_middle_and_goes_on_where_it_was(place: World):
    """No tool runs twice, and the model is not told again what the summary tells."""
    models: list[Listening] = []
    prompt = "\n".join(f"```bash\nprintf {n} >> ran; printf {str(n) * 300}\n```" for n in range(8))
    async with place.operator(parts=listening(400, models)):
        session_id = await place.create()
        turn = await place.ask(prompt)
        assert turn.status == "completed", turn.segments
        assert place.file(session_id, "ran") == b"01234567"
        assert models[0].summaries >= 2
        assert kinds(turn).count("tool_call") == 8
        assert kinds(turn).count("context_compacted") == models[0].summaries == len(await cutoffs(place, session_id))
        assert max(len(str(messages)) for messages in models[0].asked) < 8_000
        assert answer(await place.ask("next")) == "You said: next"


async def test_a_turn_compacted_in_the_middle_survives_its_operator(place: World):
    session_id = await place.create()
    prompt = "\n".join(f"```bash\nprintf {n} >> ran; printf {str(n) * 300}\n```" for n in range(5))
    turn_id = await place.post(prompt)
    await die(place, session_id, DyingLater, soft_limit=300)
    models: list[Listening] = []
    async with place.operator(parts=listening(300, models)):
        turn = await place.settled(turn_id)
        assert turn.status == "completed", turn.segments
        assert place.file(session_id, "ran") == b"01234"
        assert "tool calls of it are done" in str(models[0].asked[0])


async def test_without_a_summary_the_turn_goes_on_with_everything(place: World):
    models: list[Listening] = []
    async with place.operator(parts=listening(100, models, ProviderError("api_error", "not today"))):
        await place.create()
        await place.ask("x" * 160)
        turn = await place.ask("```bash\necho " + "y" * 40 + "\n```")
        assert answer(turn) == "y" * 40
        assert only(turn, "note")["level"] == "warning"
        assert "could not be compacted: not today" in str(only(turn, "note")["text"])
        assert models[0].summaries == 1, "asked once in a turn"
        assert "x" * 160 in str(models[0].asked[-1])
        assert (await agent(place)).context_cutoff_at is None


@pytest.mark.parametrize(("most", "summaries"), [(2, 0), (3, 1)])
async def test_a_summary_is_one_of_the_calls_that_a_turn_may_make(place: World, most: int, summaries: int):
    models: list[Listening] = []

    def limited(parts: Parts) -> Parts:
        parts = listening(300, models)(parts)
        return replace(parts, desk=replace(parts.desk, max_model_calls=most))

    async with place.operator(parts=limited):
        await place.create()
        turn_id = await place.post("\n".join(f"```bash\nprintf {str(n) * 300}\n```" for n in range(8)))
        assert (await place.settled(turn_id)).status == "failed"
    row = await place.turn_row(turn_id)
    assert row.error["code"] == "turn_limit"
    assert row.model_calls == len(models[0].asked) == most
    assert models[0].summaries == summaries
    assert (row.stepless_tokens > 0) == (summaries > 0)


async def test_a_summary_uses_the_tokens_that_a_turn_may_use(place: World):
    models: list[Listening] = []
    async with place.operator(parts=listening(100, models)):
        await place.create()
        await place.ask("x" * 160)
        await place.agents.update(
            place.admin, "demo", AgentChange(guardrails=[{"type": "max_turn_tokens", "limit": 20}])
        )
        turn_id = await place.post("y" * 40)
        turn = await place.settled(turn_id)
        assert kinds(turn) == ["note", "context_compacted", "note"]
    row = await place.turn_row(turn_id)
    assert (row.error["code"], row.model_calls) == ("token_limit", 2)
    assert len(models[0].asked) == 2, "the other turn's, and the summary"
    assert row.stepless_tokens >= 20


async def test_what_is_cleared_meanwhile_is_not_brought_back_by_a_summary(place: World):
    models: list[Listening] = []
    async with place.operator(parts=listening(300, models)):
        session_id = await place.create()
        await place.ask("the secret plan " * 10)
        turn_id = await place.post(
            "```bash\ntouch begun; until [ -e go ]; do sleep 0.02; done; printf " + "z" * 300 + "\n```\nand\n"
        )
        await place.until_file(session_id, "begun")
        await place.context.clear(place.admin, "demo")
        (place.settings.sessions_dir / str(session_id) / "go").touch()
        turn = await place.settled(turn_id)
        assert turn.status == "completed"
        assert models[0].summaries == 1
        assert "context_compacted" not in kinds(turn)
    assert texts(await heard(place)) == ["what was said?"]
