"""Our own agents on the Chat Completions wire: their history as its messages, its answers as content blocks. No I/O.

An answer is kept whole beside its blocks, in a block of its own kind, and sent to its model again as it came. Models
of the other wire, and others of this one, are told what the blocks say.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from raworc.domain.context import Message, Prompt
from raworc.domain.turns import CHAT_MESSAGE, Block
from raworc.wire.anthropic import INVALID_JSON, Json
from raworc.wire.chat import as_blocks, mapping, objects, tool_use

_LONGEST_ID: Final = 40
_MESSAGES_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def prompt_messages(prompt: Prompt, model: str) -> list[Json]:
    """Everything that a model is told, as this wire has it."""
    system = _text(prompt.system)
    messages: list[Json] = [{"role": "system", "content": system}] if system else []
    ids: dict[str, str] = {}
    for message in prompt.messages:
        if message["role"] == "assistant":
            messages += _assistant(message["content"], model, ids)
        else:
            messages += _user(message["content"], ids)
    return messages


def prompt_tools(tools: Sequence[Block]) -> list[Json]:
    """Tools, as this wire has them."""
    return [{"type": "function", "function": _function(tool)} for tool in tools]


def answer_blocks(message: Json, model: str) -> list[Block]:
    """What a completion's message says as content blocks, behind the one that keeps it; none where it says nothing."""
    named = _with_ids(message)
    blocks = [*_thoughts(named), *_texts(named), *_calls(named)]
    return [{"type": CHAT_MESSAGE, "model": model, "message": named, "blocks": len(blocks)}, *blocks] if blocks else []


def without_chat(messages: Sequence[Message]) -> list[Message]:
    """A history for the Messages wire: what only this wire understands is left out, ids are such as that one takes."""
    if not any(block.get("type") == CHAT_MESSAGE for message in messages for block in message["content"]):
        return list(messages)
    plain = [{**message, "content": [*_plain(message["content"])]} for message in messages]
    return [message for message in plain if message["content"]]


# ── to the model ────────────────────────────────────────────────────────────────────────────────────────
def _assistant(blocks: Sequence[Block], model: str, ids: dict[str, str]) -> Iterator[Json]:
    foreign: list[Block] = []
    at = 0
    while at < len(blocks):
        block, at = blocks[at], at + 1
        if block.get("type") != CHAT_MESSAGE:
            foreign.append(block)
        elif block.get("model") == model:
            yield from _translated(foreign, ids)
            foreign = []
            yield block["message"]
            at += block["blocks"]
    yield from _translated(foreign, ids)


def _translated(blocks: Sequence[Block], ids: dict[str, str]) -> Iterator[Json]:
    text = "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")
    uses = [_use(block, ids) for block in blocks if block.get("type") == "tool_use"]
    if uses:
        yield {"role": "assistant", "content": text or None, "tool_calls": uses}
    elif text:
        yield {"role": "assistant", "content": text}


def _use(block: Block, ids: dict[str, str]) -> Json:
    own = str(block.get("id", ""))
    ids[own] = own if len(own) <= _LONGEST_ID else f"call_{sha256(own.encode()).hexdigest()[:24]}"
    arguments = msgspec.json.encode(block.get("input")).decode()
    return {"id": ids[own], "type": "function", "function": {"name": block.get("name"), "arguments": arguments}}


def _user(blocks: Sequence[Block], ids: dict[str, str]) -> Iterator[Json]:
    """Results come first: they have to stand right behind their calls."""
    for block in blocks:
        if block.get("type") == "tool_result":
            own = str(block.get("tool_use_id", ""))
            yield {"role": "tool", "tool_call_id": ids.get(own, own), "content": _result(block.get("content"))}
    texts = [{"type": "text", "text": block.get("text", "")} for block in blocks if block.get("type") == "text"]
    if texts:
        yield {"role": "user", "content": texts[0]["text"] if len(texts) == 1 else texts}


def _result(content: object) -> str:
    return content if isinstance(content, str) else _text(objects(content))


def _text(blocks: Iterable[Block]) -> str:
    return "\n".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")


def _function(tool: Block) -> Json:
    named: Json = {"name": tool.get("name"), "parameters": tool.get("input_schema")}
    return {**named, "description": tool["description"]} if tool.get("description") else named


# ── from the model ──────────────────────────────────────────────────────────────────────────────────────
def _with_ids(message: Json) -> Json:
    """The message as it came; calls without an id of their own get one, for their results name it."""
    calls, seen = objects(message.get("tool_calls")), set[Any]()
    for number, call in enumerate(calls):
        if not isinstance(call.get("id"), str) or not call["id"] or call["id"] in seen:
            calls[number] = {**call, "id": f"call_{sha256(msgspec.json.encode([number, call])).hexdigest()[:24]}"}
        seen.add(calls[number]["id"])
    return {**message, "tool_calls": calls} if calls else {k: v for k, v in message.items() if k != "tool_calls"}


def _thoughts(message: Json) -> Iterator[Block]:
    """What many servers of this wire show of a model's reasoning; OpenAI's own shows nothing."""
    thought = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thought, str) and thought.strip():
        yield {"type": "thinking", "thinking": thought}


def _texts(message: Json) -> Iterator[Block]:
    said = [block.get("text") for block in as_blocks(message.get("content")) if block.get("type") == "text"]
    for text in (*said, message.get("refusal")):
        if isinstance(text, str) and text.strip():
            yield {"type": "text", "text": text}


def _calls(message: Json) -> Iterator[Block]:
    for call in objects(message.get("tool_calls")):
        called = mapping(call.get("function"))
        block = tool_use(call.get("id"), called.get("name"), called.get("arguments") or "")
        given = block["input"]
        yield block if isinstance(given, dict) else {**block, "input": {INVALID_JSON: str(called.get("arguments"))}}


# ── to a model on the other wire ────────────────────────────────────────────────────────────────────────
def _plain(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        kind = block.get("type")
        if kind == CHAT_MESSAGE or (kind == "thinking" and not block.get("signature")):
            continue  # a thought is refused without one
        if kind == "tool_use":
            yield {**block, "id": _messages_id(str(block.get("id", "")))}
        elif kind == "tool_result":
            yield {**block, "tool_use_id": _messages_id(str(block.get("tool_use_id", "")))}
        else:
            yield block


def _messages_id(own: str) -> str:
    return own if _MESSAGES_ID.fullmatch(own) else f"call_{sha256(own.encode()).hexdigest()[:24]}"
