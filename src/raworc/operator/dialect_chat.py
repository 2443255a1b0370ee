"""Our agents' model calls on the Chat Completions wire."""

import re
from typing import Any, Final

from raworc.domain.usage import read_usage
from raworc.operator.dialect import Answered, Ask, Dialect
from raworc.wire.anthropic import Json
from raworc.wire.chat import ChatAssembler, mapping, objects
from raworc.wire.chat_prompt import answer_blocks, prompt_messages, prompt_tools

_STOPPED: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_GPT: Final = re.compile(r"(?:^|/)gpt-(\d+)(?:\.(\d+))?(?![\d.])")
_TOOLS_WITHOUT_REASONING: Final = (5, 4)


def _body(ask: Ask) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": ask.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": prompt_messages(ask.prompt, ask.model),
    }
    if ask.prompt.tools:
        body["tools"] = prompt_tools(ask.prompt.tools)
        if _takes_tools_without_reasoning_only(ask.model):
            body["reasoning_effort"] = "none"
    if ask.max_tokens is not None:
        body["max_completion_tokens"] = ask.max_tokens
    return body


def _answered(completion: Json, ask: Ask) -> Answered:
    choices = objects(completion.get("choices"))
    choice = choices[0] if choices else {}
    stopped = str(choice.get("finish_reason") or "")
    usage = mapping(completion.get("usage"))
    used = read_usage(usage, "openai")
    thought = mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")  # they are not sent again
    kept = used.total - min(thought, used.output_tokens) if isinstance(thought, int) else used.total
    blocks = answer_blocks(mapping(choice.get("message")), ask.model)
    return Answered(blocks, _STOPPED.get(stopped, stopped or None), used, kept)


def _takes_tools_without_reasoning_only(model: str) -> bool:
    """OpenAI's models since GPT-5.4 refuse tools on this wire unless told not to reason (its documents say so)."""
    found = _GPT.search(model)
    return found is not None and (int(found[1]), int(found[2] or 0)) >= _TOOLS_WITHOUT_REASONING


CHAT: Final = Dialect("/v1/chat/completions", (), _body, ChatAssembler, _answered)
