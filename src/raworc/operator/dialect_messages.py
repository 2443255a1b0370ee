"""Our agents' model calls on the Messages wire."""

from typing import Any, Final

from raworc.domain.context import cached
from raworc.domain.usage import read_usage
from raworc.operator.dialect import Answered, Ask, Dialect
from raworc.wire.anthropic import Json, MessageAssembler
from raworc.wire.chat_prompt import without_chat


def _body(ask: Ask) -> dict[str, Any]:
    prompt = cached(ask.prompt)
    return {
        "model": ask.model,
        "max_tokens": ask.max_tokens or ask.else_tokens,
        "stream": True,
        "system": prompt.system,
        "tools": prompt.tools,
        "messages": without_chat(prompt.messages),
    }


def _answered(message: Json, _ask: Ask) -> Answered:
    used = read_usage(message.get("usage"))
    return Answered(message["content"], message.get("stop_reason"), used, used.total)


MESSAGES: Final = Dialect("/v1/messages", [(b"anthropic-version", b"2023-06-01")], _body, MessageAssembler, _answered)
