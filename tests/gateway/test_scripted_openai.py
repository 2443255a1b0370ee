"""The scripted model on OpenAI's wires, as the provider's own client meets it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import openai
import pytest

from gate import Gate, gate
from prompts import fault

pytestmark = pytest.mark.anyio

TOOL = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}
OWN_TOOL = {"type": "function", "name": "bash", "parameters": {"type": "object"}, "strict": False}
LONG = "ä long prompt " * 40


@pytest.fixture
async def at(home: Path) -> AsyncIterator[Gate]:
    async with gate(home) as running:
        yield running


@pytest.fixture
async def sdk(at: Gate) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=at.login(), base_url=f"{at.url}/v1", max_retries=2) as client:
        yield client


async def test_a_chat(sdk: openai.AsyncOpenAI) -> None:
    said = [{"role": "developer", "content": "Be brief"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    completion = await sdk.chat.completions.create(model="gpt-x", messages=said)
    (choice,) = completion.choices
    assert (choice.message.content, choice.finish_reason) == ("You said: hi", "stop")
    assert completion.model == "gpt-x"
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0
    assert completion._request_id.startswith("req_")


@pytest.mark.parametrize("counted", [True, False])
async def test_a_chat_that_streams(sdk: openai.AsyncOpenAI, *, counted: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if counted else {}
    said = [{"role": "user", "content": LONG}]
    chunks = [one async for one in await sdk.chat.completions.create(model="m", messages=said, stream=True, **options)]
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == f"You said: {LONG.strip()}"
    assert len(texts) > 10
    assert bool(chunks[-1].usage) is counted


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_chat_calls_a_tool_and_answers_its_output(sdk: openai.AsyncOpenAI, *, streamed: bool) -> None:
    said = [{"role": "user", "content": "Look:\n```bash\nls -l\n```"}]
    ask = {"model": "m", "tools": [TOOL]}
    if streamed:
        async with sdk.chat.completions.stream(messages=said, **ask) as stream:
            answer = (await stream.get_final_completion()).choices[0]
    else:
        answer = (await sdk.chat.completions.create(messages=said, **ask)).choices[0]
    (use,) = answer.message.tool_calls
    assert (answer.finish_reason, use.function.name) == ("tool_calls", "bash")
    assert json.loads(use.function.arguments) == {"command": "ls -l"}
    said += [
        answer.message.model_dump(exclude_none=True, include={"role", "tool_calls"}),
        {"role": "tool", "tool_call_id": use.id, "content": "total 0"},
    ]
    assert (await sdk.chat.completions.create(messages=said, **ask)).choices[0].message.content == "total 0"


async def test_a_response(sdk: openai.AsyncOpenAI) -> None:
    response = await sdk.responses.create(model="gpt-x", input="hi", instructions="Be brief")
    assert (response.output_text, response.status, response.instructions) == ("You said: hi", "completed", "Be brief")
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0
    again = await sdk.responses.create(model="gpt-x", input="hi", instructions="Be brief")
    assert again.id != response.id


async def test_a_response_that_streams(sdk: openai.AsyncOpenAI) -> None:
    events = [one async for one in await sdk.responses.create(model="m", input=LONG, stream=True)]
    assert [one.sequence_number for one in events] == list(range(len(events)))
    texts = [one.delta for one in events if one.type == "response.output_text.delta"]
    assert "".join(texts) == f"You said: {LONG.strip()}" == events[-1].response.output_text
    assert events[-1].type == "response.completed"


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_response_calls_a_tool_and_answers_its_output(sdk: openai.AsyncOpenAI, *, streamed: bool) -> None:
    given: list = [{"role": "user", "content": [{"type": "input_text", "text": "Look:\n```bash\nls\n```"}]}]
    ask = {"model": "m", "tools": [OWN_TOOL]}
    if streamed:
        async with sdk.responses.stream(input=given, **ask) as stream:
            response = await stream.get_final_response()
    else:
        response = await sdk.responses.create(input=given, **ask)
    (use,) = response.output
    assert (use.type, use.name, json.loads(use.arguments)) == ("function_call", "bash", {"command": "ls"})
    given += [use.to_dict(), {"type": "function_call_output", "call_id": use.call_id, "output": "nothing"}]
    assert (await sdk.responses.create(input=given, **ask)).output_text == "nothing"
    alone = await sdk.responses.create(input=given[-1:], previous_response_id=response.id, **ask)
    assert (alone.output_text, alone.previous_response_id) == ("nothing", response.id)


async def test_models(sdk: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in sdk.models.list()] == ["scripted"]
    assert (await sdk.models.retrieve("any")).owned_by == "scripted"


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, openai.BadRequestError), (429, openai.RateLimitError), (503, openai.InternalServerError)],
)
async def test_faults_are_the_clients_own_exceptions(sdk: openai.AsyncOpenAI, status: int, error: type) -> None:
    once = sdk.with_options(max_retries=0)
    with pytest.raises(error) as told:
        await once.responses.create(model="m", input=fault("x", status=status))
    assert "The prompt asked for this fault" in str(told.value)
    assert told.value.request_id.startswith("req_")
    with pytest.raises(error):
        await once.chat.completions.create(model="m", messages=[{"role": "user", "content": fault("x", status=status)}])


async def test_the_client_retries_a_fault_away(sdk: openai.AsyncOpenAI) -> None:
    prompt = fault("hello", status=503, times=1, headers={"retry-after-ms": "1"})
    assert (await sdk.responses.create(model="m", input=prompt)).output_text == "You said: hello"


async def test_a_cut_stream_ends_with_the_wires_own_error(sdk: openai.AsyncOpenAI) -> None:
    prompt = fault(LONG, cut_after_events=4)
    with pytest.raises(openai.APIError, match="closed the connection"):
        async for _ in await sdk.chat.completions.create(
            model="m", messages=[{"role": "user", "content": prompt}], stream=True
        ):
            pass
    with pytest.raises(openai.APIError, match="closed the connection") as told:
        async for _ in await sdk.responses.create(model="m", input=prompt, stream=True):
            pass
    assert told.value.code == "bad_gateway"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"model": "m"}),
        ("chat/completions", {"model": "m", "messages": []}),
        ("chat/completions", {"model": "m", "messages": 5}),
        ("chat/completions", {"model": "m", "messages": ["x", {"role": "user", "content": "x"}]}),
        ("chat/completions", {"model": "m", "messages": [{"role": "nobody", "content": "x"}]}),
        ("chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("responses", {"model": "m"}),
        ("responses", {"model": "m", "input": []}),
        ("responses", {"model": "m", "input": 5}),
        ("responses", []),
    ],
)
async def test_bodies_that_no_provider_would_take(at: Gate, path: str, body: object) -> None:
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {at.login()}"}) as http:
        answer = await http.post(f"{at.url}/v1/{path}", json=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
