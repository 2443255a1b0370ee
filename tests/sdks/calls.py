"""What a program does with the official SDKs for Python, told as JSON; ``node/*.mjs`` do and tell the same."""

import json
from typing import Any

import anthropic
import openai

Json = dict[str, Any]

STATUSES = (400, 401, 403, 404, 422, 429, 500, 529)
FLAKY = (429, 503, 529)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def anthropic_calls(url: str, key: str, train: str) -> Json:
    client = anthropic.Anthropic(base_url=url, auth_token=key, default_headers={"MSL-Train-Id": train}, max_retries=2)

    def ask(text: str, **more: Any):
        return {"model": "m-1", "max_tokens": 9, "messages": [{"role": "user", "content": text}], **more}

    plain = client.messages.create(**ask("héllo"))
    with client.messages.stream(**ask("héllo")) as stream:
        pieces = list(stream.text_stream)
        streamed = stream.get_final_message()
    tools = [{"name": "weather", "input_schema": SCHEMA}]
    tool = client.messages.create(**ask("tool", tools=tools))
    with client.messages.stream(**ask("tool", tools=tools)) as stream:
        streamed_tool = stream.get_final_message()
    told: Json = {
        "plain": [plain.content[0].text, plain.usage.input_tokens, plain.usage.output_tokens, plain._request_id],
        "stream": [pieces, streamed.stop_reason, streamed.usage.output_tokens],
        "tool": [tool.stop_reason, tool.content[0].input],
        "streamed tool": [streamed_tool.stop_reason, streamed_tool.content[0].input],
        "tokens": client.messages.count_tokens(model="m-1", messages=ask("x")["messages"]).input_tokens,
        "models": [model.id for model in client.models.list()],
        "model": client.models.retrieve("m-1").id,
        "flaky": [client.messages.create(**ask(f"flaky {status} {train}")).content[0].text for status in FLAKY],
    }
    with client.messages.stream(**ask(f"endless {train}")) as stream:
        told["aborted"] = next(iter(stream)).type
    once = client.with_options(max_retries=0)
    for word in ("broken", "overloaded"):
        told[word] = _broken(anthropic, lambda word=word: list(once.messages.create(**ask(word, stream=True))))
    told["errors"] = [_error(anthropic, lambda s=s: once.messages.create(**ask(f"error {s}"))) for s in STATUSES]
    client.close()
    return told


def openai_calls(url: str, key: str, train: str) -> Json:
    headers = {"MSL-Train-Id": train}
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, default_headers=headers, max_retries=2) as client:
        return _chat(client, train) | _responses(client, train)


def _chat(client: openai.OpenAI, train: str) -> Json:
    chat, once = client.chat.completions, client.with_options(max_retries=0).chat.completions

    def ask(text: str, **more: Any):
        return {"model": "m-1", "messages": [{"role": "user", "content": text}], **more}

    tools = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    plain = chat.create(**ask("héllo"))
    chunks = list(chat.create(**ask("héllo", stream=True, stream_options={"include_usage": True})))
    texts = [item.choices[0].delta.content for item in chunks[1:-2]]
    tool = chat.create(**ask("tool", tools=tools)).choices[0].message.tool_calls[0]
    tool_chunks = list(chat.create(**ask("tool", tools=tools, stream=True)))[:3]
    usage = plain.usage
    told: Json = {
        "plain": [plain.choices[0].message.content, usage.prompt_tokens, usage.completion_tokens, plain._request_id],
        "stream": [texts, chunks[-2].choices[0].finish_reason, chunks[-1].usage.completion_tokens],
        "tool": json.loads(tool.function.arguments),
        "streamed tool": json.loads(
            "".join(item.choices[0].delta.tool_calls[0].function.arguments for item in tool_chunks)
        ),
        "models": [model.id for model in client.models.list()],
        "model": client.models.retrieve("m-1").id,
        "flaky": [chat.create(**ask(f"flaky {status} {train}")).choices[0].message.content for status in FLAKY],
    }
    with chat.create(**ask(f"endless {train}", stream=True)) as stream:
        told["aborted"] = next(iter(stream)).object
    for word in ("broken", "overloaded"):
        told[word] = _broken(openai, lambda word=word: list(once.create(**ask(word, stream=True))))
    told["errors"] = [_error(openai, lambda s=s: once.create(**ask(f"error {s}"))) for s in STATUSES]
    return told


def _responses(client: openai.OpenAI, train: str) -> Json:
    tools = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
    again, once = client.responses.create, client.with_options(max_retries=0).responses.create
    response = once(model="m-1", input="héllo")
    called = once(model="m-1", input="tool", tools=tools).output[0]
    *_, ended = once(model="m-1", input="tool", tools=tools, stream=True)
    streamed = ended.response.output[0]
    with once(model="m-1", input=f"endless response {train}", stream=True) as stream:
        aborted = next(iter(stream)).type
    return {
        "response": [response.output_text, response.usage.output_tokens, response._request_id],
        "response stream": [event.type for event in once(model="m-1", input="héllo", stream=True)],
        "response tool": [called.type, json.loads(called.arguments)],
        "streamed response tool": [streamed.type, json.loads(streamed.arguments)],
        "flaky response": [again(model="m-1", input=f"flaky {s} response {train}").output_text for s in FLAKY],
        "aborted response": aborted,
        "broken response": _broken(openai, lambda: list(once(model="m-1", input="broken", stream=True))),
        "overloaded response": [event.type for event in once(model="m-1", input="overloaded", stream=True)][-1],
        "response errors": [_error(openai, lambda s=s: once(model="m-1", input=f"error {s}")) for s in STATUSES],
    }


def _error(sdk: Any, call: Any) -> list[Any]:
    try:
        call()
    except sdk.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.body.get("error", error.body)["type"], error.request_id]
    raise AssertionError("no error")


def _broken(sdk: Any, call: Any) -> str:
    """What iterating a stream that breaks off raises."""
    try:
        call()
    except sdk.APIError:
        return "APIError"
    return "no error"
