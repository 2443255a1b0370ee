"""The scripted model through the gateway, spoken to by the official SDK."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anthropic
import httpx2
import pytest

from gate import Gate, gate
from raworc.wire.client import Client, Target
from raworc.wire.sse import SSEDecoder
from shapes import compared

pytestmark = pytest.mark.anyio

MODEL = "any-model"


@pytest.fixture
async def at(home: Path) -> AsyncIterator[Gate]:
    async with gate(home) as running:
        yield running


@pytest.fixture
async def sdk(at: Gate) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=at.url, auth_token=at.login(), max_retries=0) as client:
        yield client


def asked(content: str) -> list[dict]:
    return [{"role": "user", "content": content}]


async def test_json(sdk: anthropic.AsyncAnthropic) -> None:
    raw = await sdk.messages.with_raw_response.create(model=MODEL, max_tokens=99, messages=asked("hello"))
    message = await raw.parse()
    assert message.content[0].text == "You said: hello"
    assert (message.model, message.stop_reason, message.usage.input_tokens) == (MODEL, "end_turn", 2)
    assert raw.headers["x-raworc-provider"] == "scripted"
    assert raw.headers["request-id"] == f"req_{raw.headers['x-raworc-request-id'].replace('-', '')}"


async def test_stream(sdk: anthropic.AsyncAnthropic) -> None:
    prompt = "many words " * 40
    async with sdk.messages.stream(model=MODEL, max_tokens=99, messages=asked(prompt)) as stream:
        pieces = [piece async for piece in stream.text_stream]
        message = await stream.get_final_message()
    assert len(pieces) > 5
    assert "".join(pieces) == f"You said: {prompt.strip()}"
    whole = await sdk.messages.create(model=MODEL, max_tokens=99, messages=asked(prompt))
    assert message.content[0].text == whole.content[0].text
    assert message.usage.output_tokens == whole.usage.output_tokens
    assert message.id == whole.id


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_tool_is_called_and_its_output_is_the_answer(sdk: anthropic.AsyncAnthropic, *, streamed: bool) -> None:
    tools = [{"name": "bash", "input_schema": {"type": "object"}}]
    messages = asked("```bash\necho 'ä'\n```")
    for _ in range(2):
        if streamed:
            async with sdk.messages.stream(model=MODEL, max_tokens=99, messages=messages, tools=tools) as stream:
                answer = await stream.get_final_message()
        else:
            answer = await sdk.messages.create(model=MODEL, max_tokens=99, messages=messages, tools=tools)
        messages.append({"role": "assistant", "content": [block.model_dump() for block in answer.content]})
        for use in answer.content:
            if use.type == "tool_use":
                assert (use.name, use.input) == ("bash", {"command": "echo 'ä'"})
                outcome = {"type": "tool_result", "tool_use_id": use.id, "content": "ä"}
                messages.append({"role": "user", "content": [outcome]})
    assert (answer.stop_reason, answer.content[0].text) == ("end_turn", "ä")


async def test_count_tokens_and_models(sdk: anthropic.AsyncAnthropic) -> None:
    assert (await sdk.messages.count_tokens(model=MODEL, messages=asked("hello"))).input_tokens == 2
    assert [model.id async for model in sdk.models.list()] == ["scripted"]
    assert (await sdk.models.retrieve(MODEL)).id == MODEL


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
async def test_a_fault_is_committed_as_often_as_asked(
    sdk: anthropic.AsyncAnthropic, status: int, error: type[anthropic.APIStatusError]
) -> None:
    prompt = f'hi\n```fault\n{{"status": {status}, "times": 2, "retry_after": 7, "headers": {{"x-odd": "1"}}}}\n```'
    for _ in range(2):
        with pytest.raises(error) as failed:
            await sdk.messages.create(model=MODEL, max_tokens=99, messages=asked(prompt))
        assert failed.value.status_code == status
        assert (failed.value.response.headers["retry-after"], failed.value.response.headers["x-odd"]) == ("7", "1")
    answer = await sdk.messages.create(model=MODEL, max_tokens=99, messages=asked(prompt))
    assert answer.content[0].text == "You said: hi"


async def test_the_sdk_retries_a_fault_away(sdk: anthropic.AsyncAnthropic) -> None:
    prompt = '```fault\n{"status": 529, "times": 2, "retry_after": 0.01}\n```'
    answer = await sdk.with_options(max_retries=2).messages.create(model=MODEL, max_tokens=9, messages=asked(prompt))
    assert answer.stop_reason == "end_turn"


async def test_delays(sdk: anthropic.AsyncAnthropic) -> None:
    began = time.monotonic()
    prompt = '```fault\n{"delay_ms": 100, "chunk_delay_ms": 20}\n```'
    async with sdk.messages.stream(model=MODEL, max_tokens=99, messages=asked(prompt)) as stream:
        events = [event.type async for event in stream]
    assert events[-1] == "message_stop"
    assert time.monotonic() - began >= 0.1 + 7 * 0.02


async def test_a_cut_stream_ends_with_the_wires_own_error(sdk: anthropic.AsyncAnthropic) -> None:
    prompt = '```fault\n{"cut_after_events": 3}\n```'
    with pytest.raises(anthropic.APIStatusError, match="closed the connection"):
        async with sdk.messages.stream(model=MODEL, max_tokens=99, messages=asked(prompt)) as stream:
            async for _ in stream:
                pass


async def test_a_cut_json_answer_is_not_taken_for_whole(sdk: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.APIConnectionError):
        await sdk.messages.create(model=MODEL, max_tokens=9, messages=asked('```fault\n{"cut_after_events": 1}\n```'))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"model":"m"}',
        b'{"model":"m","max_tokens":5}',
        b'{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"x"}]}',
        b'{"model":5,"max_tokens":5,"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"m","max_tokens":5,"messages":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"\xff"}]}',
    ],
)
async def test_bodies_that_no_provider_would_take(at: Gate, body: bytes) -> None:
    client = Client(Target.parse(at.url))
    headers = [(b"authorization", b"Bearer " + at.login().encode())]
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        if path.endswith("count_tokens") and b"max_tokens" in body and b'"m"' in body and b'content":"x"' in body:
            continue  # counting needs no max_tokens
        response = await client.open("POST", path, headers, body)
        assert response.status == 400
        assert b'"invalid_request_error"' in await response.read()
        await response.close()
    await client.close()


USAGE = {
    "input_tokens": int,
    "output_tokens": int,
    "cache_creation_input_tokens": int,
    "cache_read_input_tokens": int,
}
ENDS = ("end_turn", "max_tokens", "stop_sequence")
MESSAGE = {"id": str, "type": ("message",), "role": ("assistant",), "model": str, "usage": USAGE}
ANSWER = {**MESSAGE, "content": [{"type": ("text",), "text": str}], "stop_reason": ENDS, "stop_sequence": str | None}
EVENTS = {
    "message_start": {"message": {**MESSAGE, "content": ([],)}},
    "content_block_start": {"index": int},
    "content_block_delta": {"index": int, "delta": {"type": ("text_delta",), "text": str}},
    "content_block_stop": {"index": int},
    "message_delta": {},
    "message_stop": {"stop_reason": ENDS, "stop_sequence": str | None, "usage": USAGE},
}


async def test_every_documented_field_of_a_message_is_taken_and_told(at: Gate) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    limits = {"max_tokens": 99, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop_sequences": ["x"]}
    request = {
        "model": MODEL,
        "system": "Be brief",
        "metadata": {"user_id": "u"},
        **limits,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}, image]}],
    }
    async with httpx2.AsyncClient(headers={"x-api-key": at.login()}) as http:
        whole = await http.post(f"{at.url}/v1/messages", json=request)
        streamed = await http.post(f"{at.url}/v1/messages", json={**request, "stream": True})
    assert list(compared(whole.json(), ANSWER))
    told = [event.data for event in SSEDecoder().feed(streamed.content) if event.event != "ping"]
    kinds = [json.loads(data) for data in told]
    assert {body["type"] for body in kinds} == EVENTS.keys()
    for body in kinds:
        assert list(compared(body, {"type": str, **EVENTS[body["type"]]}))
    last = {name: kinds[-1][name] for name in ("stop_reason", "usage")}
    assert last == {name: whole.json()[name] for name in last}
