"""Our agents' model calls over OpenAI's Chat Completions: as bytes, and as turns through the whole gateway."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from operating import World, answer, kinds, only
from raworc.domain.agents import AgentChange
from raworc.domain.context import Prompt
from raworc.domain.credentials import ApiKey
from raworc.domain.models import DEFAULT_GPT
from raworc.domain.summary import SUMMARY_INSTRUCTION
from raworc.domain.turns import tool_uses
from raworc.domain.upstreams import Offer
from raworc.ids import new_id
from raworc.operator.dialect import Ask
from raworc.operator.model import CallBroken, Model, ProviderError
from raworc.services.upstream_uses import Use
from raworc.store.records import upstreams
from raworc.wire.anthropic import Delta
from raworc.wire.client import Client, Target, Timeouts
from raworc.wire.frames import Kind, unpack_start
from recall import listening
from standin import Script, Standin, answers, chunk, json_answer, standin, stream_head

pytestmark = pytest.mark.anyio

USAGE = {
    "prompt_tokens": 900,
    "completion_tokens": 50,
    "prompt_tokens_details": {"cached_tokens": 200},
    "completion_tokens_details": {"reasoning_tokens": 30},
}


def data(body: dict[str, Any]) -> bytes:
    return chunk(b"data: " + json.dumps({"id": "c", "model": "gpt-x", **body}).encode() + b"\n\n")


def delta(finish: str | None = None, **what: object) -> bytes:
    return data({"choices": [{"index": 0, "delta": what, "finish_reason": finish}]})


def call(index: int, **function: str) -> bytes:
    named = {"id": f"call_{index}", "type": "function"} if "name" in function else {}
    return delta(tool_calls=[{"index": index, **named, "function": {"arguments": "", **function}}])


USAGE_LAST = data({"choices": [], "usage": USAGE})
DONE = [chunk(b"data: [DONE]\n\n"), chunk(b"")]
STREAM = [
    stream_head(),
    delta(role="assistant", content=""),
    delta(reasoning_content="hm"),
    delta(content="I "),
    delta(content="look."),
    call(0, name="bash"),
    call(0, arguments='{"comm'),
    call(0, arguments='and": "ls"}'),
    call(1, name="bash", arguments='{"command": "pwd"}'),
    delta("tool_calls"),
    USAGE_LAST,
    *DONE,
]


def ask(model: str = "gpt-4.1", *, max_tokens: int | None = None, tools: int = 1) -> Ask:
    text = [{"type": "text", "text": "hi"}]
    prompt = Prompt(text, [{"name": "bash", "input_schema": {}}] * tools, [{"role": "user", "content": text}])
    return Ask(model, max_tokens, prompt, "token", new_id(), wire="openai")


@asynccontextmanager
async def asking(script: Script) -> AsyncIterator[tuple[Model, Standin]]:
    async with standin(script) as provider:
        client = Client(Target.parse(provider.url), timeouts=Timeouts(first_byte_s=0.5, idle_s=0.5))
        yield Model(client), provider
        await client.close()


async def test_text_is_heard_as_it_comes_and_calls_are_put_together():
    heard: list[Delta] = []
    async with asking(answers(*STREAM)) as (asker, provider):
        made = ask()
        reply = await asker.ask(made, heard.append)
    assert [(one.kind, one.text) for one in heard] == [("thinking", "hm"), ("text", "I "), ("text", "look.")]
    assert [(use.id, use.args) for use in tool_uses(reply.blocks)] == [
        ("call_0", {"command": "ls"}),
        ("call_1", {"command": "pwd"}),
    ]
    assert (reply.stop_reason, reply.tokens) == ("tool_use", 950)
    assert 900 < (reply.context_tokens or 0) <= 920  # what was reasoned is not sent again
    (seen,) = provider.seen
    assert seen.line == b"POST /v1/chat/completions HTTP/1.1"
    assert seen.header(b"authorization") == [b"Bearer token"]
    assert seen.header(b"x-raworc-request-id") == [str(made.request_id).encode()]
    assert seen.header(b"anthropic-version") == []
    body = json.loads(seen.body)
    assert body.pop("messages")[0] == {"role": "system", "content": "hi"}
    assert body == {
        "model": "gpt-4.1",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function", "function": {"name": "bash", "parameters": {}}}],
    }


STOPS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal", "odd": "odd"}


@pytest.mark.parametrize(("finish", "stopped"), STOPS.items())
async def test_why_an_answer_stopped_is_told_in_one_way(finish: str, stopped: str):
    async with asking(answers(stream_head(), delta(content="x"), delta(finish), *DONE)) as (asker, _):
        reply = await asker.ask(ask(), lambda _: None)
    assert (reply.stop_reason, reply.tokens, reply.context_tokens) == (stopped, 0, None)


LIMITS = [("gpt-4.1", None, {}), ("gpt-4.1", 7, {"max_completion_tokens": 7})]
REASONING = [
    ("gpt-5.4", 1, "none"),
    ("gpt-6.1-sol", 1, "none"),
    ("openai/gpt-5.6-terra", 1, "none"),
    ("gpt-5.6", 0, None),
    ("gpt-5.3", 1, None),
    ("gpt-5", 1, None),
    ("gpt-4o", 1, None),
    ("llama-5.6", 1, None),
]


@pytest.mark.parametrize(("model", "limit", "told"), LIMITS)
async def test_a_limit_is_told_only_where_somebody_set_one(model: str, limit: int | None, told: dict[str, int]):
    async with asking(answers(*STREAM)) as (asker, provider):
        await asker.ask(ask(model, max_tokens=limit), lambda _: None)
    body = json.loads(provider.seen[0].body)
    assert {key: value for key, value in body.items() if "tokens" in key} == told


@pytest.mark.parametrize(("model", "tools", "effort"), REASONING)
async def test_models_that_refuse_tools_while_they_reason_are_told_not_to(model: str, tools: int, effort: str | None):
    async with asking(answers(*STREAM)) as (asker, provider):
        await asker.ask(ask(model, tools=tools), lambda _: None)
    assert json.loads(provider.seen[0].body).get("reasoning_effort") == effort


async def test_a_refusal_keeps_the_providers_words():
    refusal = b'{"error": {"message": "No such model", "type": "invalid_request_error", "code": "model_not_found"}}'
    async with asking(answers(json_answer(refusal, "404 Not Found"))) as (asker, _):
        with pytest.raises(ProviderError) as caught:
            await asker.ask(ask(), lambda _: None)
    assert (caught.value.code, caught.value.message) == ("invalid_request_error", "No such model")


ERROR = chunk(b'data: {"error": {"message": "busy", "type": "server_error"}}\n\n')
BREAKS: dict[str, tuple[Script, str]] = {
    "an error event": (answers(*STREAM[:5], ERROR, chunk(b"")), "server_error"),
    "the connection ends in the middle": (answers(*STREAM[:5], abort=True), "gateway_unreachable"),
    "the stream ends without its end": (answers(*STREAM[:5], chunk(b"")), "upstream_disconnected"),
    "an end without a beginning": (answers(STREAM[0], *DONE), "upstream_disconnected"),
}


@pytest.mark.parametrize(("script", "code"), BREAKS.values(), ids=BREAKS)
async def test_half_an_answer_is_for_the_caller_to_ask_for_again(script: Script, code: str):
    async with asking(script) as (asker, _):
        with pytest.raises(CallBroken) as caught:
            await asker.ask(ask(), lambda _: None)
    assert (caught.value.code, caught.value.sent) == (code, True)


# ── turns ───────────────────────────────────────────────────────────────────────────────────────────────
def said(*pieces: bytes, finish: str) -> list[bytes]:
    return [stream_head(), *pieces, delta(finish), USAGE_LAST, *DONE]


def in_turn(*scripts: Script) -> Script:
    """A provider whose first answer is the first of these, and so on."""
    waiting = list(scripts)

    async def play(writer: asyncio.StreamWriter) -> None:
        await waiting.pop(0)(writer)

    return play


@asynccontextmanager
async def only_openai(place: World, script: Script) -> AsyncIterator[Standin]:
    """An installation whose one account is OpenAI's, set up for every space."""
    async with standin(script) as provider:
        row = {"id": uuid.uuid4(), "name": "openai", "provider": "openai", "base_url": provider.url, "models": []}
        async with place.db.transaction() as conn:
            await conn.execute(upstreams.insert().values(**row, every_space=True, is_default=False))
        use = Use(str(row["id"]), 1, Offer("openai", "openai"), provider.url, ApiKey("sk-theirs"))
        place.gate.directory.uses.append(use)
        await place.gate.routing.look()
        yield provider


async def test_an_installation_with_only_an_openai_account_does_work(place: World):
    work = said(call(0, name="bash", arguments='{"command": "echo hi > a; cat a"}'), finish="tool_calls")
    both = said(
        delta(content="Two."),
        call(0, name="bash", arguments='{"command": "echo 1"}'),
        call(1, name="bash", arguments='{"command": "echo 2"}'),
        finish="tool_calls",
    )
    done = said(delta(content="It "), delta(content="is done."), finish="stop")
    failing = answers(json_answer(b'{"error": {"message": "slow down"}}', "503 Unavailable"))
    script = in_turn(failing, answers(*work), answers(*both), answers(*done), answers(*done))
    async with only_openai(place, script) as provider, place.operator():
        await place.create()
        turn = await place.ask("work")
        assert answer(turn) == "It is done."
        assert [segment["output"] for segment in turn.segments if segment["type"] == "tool_result"] == ["hi", "1", "2"]
        assert answer(await place.ask("again")) == "It is done."
    assert {seen.header(b"authorization")[0] for seen in provider.seen} == {b"Bearer sk-theirs"}
    bodies = [json.loads(seen.body) for seen in provider.seen]
    assert {body["model"] for body in bodies} == {DEFAULT_GPT}
    assert bodies[0] == bodies[1]  # the gateway's retry
    calls = [message for message in bodies[-1]["messages"] if message["role"] == "assistant"]
    assert calls[0]["tool_calls"][0]["function"]["arguments"] == '{"command": "echo hi > a; cat a"}'
    assert [message["role"] for message in bodies[-1]["messages"]] == [
        *("system", "user", "assistant", "tool", "assistant", "tool", "tool", "assistant", "user")
    ]
    rows = await place.steps(turn.id)
    assert {row.tokens for row in rows if row.kind == "model"} == {950}


async def test_a_full_context_is_compacted_on_this_wire(place: World):
    heard: list[Any] = []
    async with place.operator(parts=listening(1_000, heard)):
        await place.create(model="gpt-4.1")  # without an upstream the scripted model answers, on the name's wire
        assert answer(await place.ask("remember " + "x " * 900)).startswith("You said: remember")
        turn = await place.ask("and now?")
        assert answer(turn) == "You said: and now?"
    assert "context_compacted" in kinds(turn)
    assert only(turn, "context_compacted")["summary"].startswith("Summary of 1 user messages")
    assert SUMMARY_INSTRUCTION in str(heard[0].asked[1])


async def test_a_turn_goes_on_when_the_wire_changes(place: World):
    async with place.operator():
        await place.create(model="gpt-4.1")
        tool = "```bash\necho one\n```"
        assert answer(await place.ask(tool)) == "one"
        for model in ("claude-x", "gpt-4.1", "gpt-4o"):
            await place.agents.update(place.admin, "demo", AgentChange(model=model))
            assert answer(await place.ask(tool)) == "one"
    begun = [unpack_start(frame.data)[0] for frame in place.gate.frames() if frame.kind is Kind.START]
    paths = [start.path for start in begun]
    assert paths == ["/v1/chat/completions"] * 2 + ["/v1/messages"] * 2 + ["/v1/chat/completions"] * 4
