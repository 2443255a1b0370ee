"""Model calls against a provider that says exactly what it is told, and the publishing of running text."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from raworc.domain.context import Prompt
from raworc.errors import DatabaseUnavailable
from raworc.ids import new_id
from raworc.operator import model
from raworc.operator.dialect import Ask
from raworc.operator.model import CallBroken, Deltas, Model, ProviderError
from raworc.operator.stop import Stop, Stopped
from raworc.wire.anthropic import Delta
from raworc.wire.client import Client, Target, Timeouts
from standin import Script, Standin, answers, chunk, json_answer, standin, stream_head
from waiting import until

pytestmark = pytest.mark.anyio

BLOCKS = [
    {"type": "thinking", "thinking": "hm, so", "signature": "sig"},
    {"type": "redacted_thinking", "data": "opaque"},
    {"type": "text", "text": "I look."},
    {"type": "tool_use", "id": "t1", "name": "bash", "input": {"command": "ls"}, "caller": {"type": "direct"}},
]


def event(body: dict[str, object]) -> bytes:
    return chunk(f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode())


def delta(index: int, **what: object) -> bytes:
    return event({"type": "content_block_delta", "index": index, "delta": what})


def begin(index: int, **block: object) -> bytes:
    return event({"type": "content_block_start", "index": index, "content_block": block})


STREAM = [
    stream_head(),
    event({"type": "message_start", "message": {"id": "m", "role": "assistant", "usage": {"input_tokens": 1}}}),
    begin(0, type="thinking", thinking="", signature=""),
    delta(0, type="thinking_delta", thinking="hm, "),
    delta(0, type="thinking_delta", thinking="so"),
    delta(0, type="signature_delta", signature="sig"),
    begin(1, type="redacted_thinking", data="opaque"),
    begin(2, type="text", text=""),
    delta(2, type="text_delta", text="I "),
    delta(2, type="text_delta", text="look."),
    begin(3, type="tool_use", id="t1", name="bash", input={}, caller={"type": "direct"}),
    delta(3, type="input_json_delta", partial_json='{"comm'),
    delta(3, type="input_json_delta", partial_json='and": "ls"}'),
    event({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}),
    event({"type": "message_stop"}),
    chunk(b""),
]


@asynccontextmanager
async def asking(script: Script) -> AsyncIterator[tuple[Model, Standin]]:
    async with standin(script) as provider:
        client = Client(Target.parse(provider.url), timeouts=Timeouts(first_byte_s=0.5, idle_s=0.5))
        yield Model(client), provider
        await client.close()


def ask(**prompt: object) -> Ask:
    text = [{"type": "text", "text": "hi"}]
    messages = [{"role": "user", "content": text}]
    return Ask("claude", 100, Prompt(text, [{"name": "bash"}], messages), "token", new_id())


async def test_every_block_is_kept_whole_and_text_is_heard_as_it_comes():
    heard: list[Delta] = []
    async with asking(answers(*STREAM)) as (asker, provider):
        made = ask()
        reply = await asker.ask(made, heard.append)
    assert reply.blocks == BLOCKS
    assert reply.stop_reason == "tool_use"
    assert [(one.kind, one.text) for one in heard][:4] == [
        ("thinking", "hm, "),
        ("thinking", "so"),
        ("text", "I "),
        ("text", "look."),
    ]
    (seen,) = provider.seen
    assert seen.line == b"POST /v1/messages HTTP/1.1"
    assert seen.header(b"authorization") == [b"Bearer token"]
    assert seen.header(b"x-raworc-request-id") == [str(made.request_id).encode()]
    body = json.loads(seen.body)
    assert {key: body[key] for key in ("model", "max_tokens", "stream")} == {
        "model": "claude",
        "max_tokens": 100,
        "stream": True,
    }
    assert str(body).count("'cache_control': {'type': 'ephemeral'}") == 3


REFUSALS = {
    "the provider's own words": (b'{"type":"error","error":{"type":"x_error","message":"no"}}', "x_error", "no"),
    "no message": (b'{"error":{"type":"x_error"}}', "x_error", "The provider answered with status 529"),
    "not JSON": (b"<html>", "api_error", "The provider answered with status 529"),
    "another object": (b"{}", "api_error", "The provider answered with status 529"),
}


@pytest.mark.parametrize(("body", "code", "message"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_is_not_tried_again(body: bytes, code: str, message: str):
    async with asking(answers(json_answer(body, "529 Overloaded"))) as (asker, provider):
        with pytest.raises(ProviderError) as caught:
            await asker.ask(ask(), lambda _: None)
    assert (caught.value.code, caught.value.message) == (code, message)
    assert len(provider.seen) == 1


OVERLOADED = event({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})
BREAKS: dict[str, tuple[Script, str]] = {
    "an error event": (answers(*STREAM[:9], OVERLOADED, chunk(b"")), "overloaded_error"),
    "the connection ends in the middle": (answers(*STREAM[:9], abort=True), "gateway_unreachable"),
    "the stream ends without its end": (answers(*STREAM[:9], chunk(b"")), "upstream_disconnected"),
    "an end without a beginning": (answers(STREAM[0], *STREAM[-2:]), "upstream_disconnected"),
    "no HTTP": (answers(b"hello\r\n\r\n"), "gateway_unreachable"),
    "nothing at all": (answers(abort=True), "gateway_unreachable"),
}


@pytest.mark.parametrize(("script", "code"), BREAKS.values(), ids=BREAKS)
async def test_half_an_answer_is_for_the_caller_to_ask_for_again(script: Script, code: str):
    async with asking(script) as (asker, _):
        with pytest.raises(CallBroken) as caught:
            await asker.ask(ask(), lambda _: None)
    assert (caught.value.code, caught.value.sent) == (code, True)


async def test_a_gateway_that_is_not_there_never_got_the_request():
    asker = Model(Client(Target.parse("unix:/nowhere/model.sock")))
    with pytest.raises(CallBroken) as caught:
        await asker.ask(ask(), lambda _: None)
    assert caught.value.sent is False


async def test_a_provider_that_says_nothing_was_given_its_time():
    async with asking(answers(STREAM[0], delay_s=5)) as (asker, _):
        with pytest.raises(ProviderError) as caught:
            await asker.ask(ask(), lambda _: None)
    assert caught.value.code == "timeout_error"


async def test_stopping_ends_the_providers_call():
    stop = Stop()
    async with asking(answers(*STREAM[:3], delay_s=0.3)) as (asker, provider):
        asked = asyncio.create_task(stop.race(asker.ask(ask(), lambda _: None)))
        await until(lambda: bool(provider.seen))
        stop.set()
        with pytest.raises(Stopped):
            await asked
        async with asyncio.timeout(60):
            await provider.gone.wait()


async def test_what_is_ready_wins_over_the_wish_to_stop():
    stop = Stop()

    async def ready() -> int:
        return 7

    stop.set()
    assert await stop.race(ready()) == 7


async def test_running_text_is_collected_in_order_and_lost_quietly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model, "DELTA_EVERY_S", 0.01)
    sent: list[tuple[str, str]] = []

    async def publish(channel: str, text: str) -> None:
        sent.append((channel, text))
        if len(sent) == 1:
            raise DatabaseUnavailable("away")

    deltas = Deltas(publish)
    for kind, text in [("thinking", "a"), ("thinking", "b"), ("input_json", "{"), ("text", "c")]:
        deltas.hear(Delta(kind, 0, text))
    await until(lambda: len(sent) == 1)
    deltas.hear(Delta("text", 0, "d"))
    await until(lambda: len(sent) == 2)
    deltas.hear(Delta("text", 0, "never sent"))
    await deltas.close()
    assert sent == [("analysis", "ab"), ("commentary", "d")]
