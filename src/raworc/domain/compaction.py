"""How full a session's context is, when it is compacted, and what a model is asked then.

A token is taken for four characters. Where a provider counted the history, its number stands for all that it
counted, and only what came after is estimated.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from raworc.domain.context import (
    Message,
    PastTurn,
    Prompt,
    input_blocks,
    past_messages,
    summary_messages,
    turn_messages,
)
from raworc.domain.summary import SUMMARY_INSTRUCTION
from raworc.domain.turns import Block, Segment

NOTHING_SAID: Final = "Nothing had been said yet."
_CHARACTERS_PER_TOKEN: Final = 4
_COMPACT_AT: Final = 0.9
_WORTH_IT: Final = 0.1
_ASK: Final[Block] = {"type": "text", "text": SUMMARY_INSTRUCTION}


@dataclass(frozen=True)
class Measured:
    """What is stored of a session's history since its cutoff.

    ``reported`` is what the provider counted at its last answer, ``characters_since`` what came after that (all of
    it, where nothing was reported). ``messages`` are inputs, answers, tool results and a summary.
    """

    messages: int
    reported: int | None
    characters_since: int
    cutoff_at: datetime | None
    at: datetime

    @property
    def tokens(self) -> int:
        """How much of the context is used."""
        return (self.reported or 0) + tokens(self.characters_since)


def tokens(characters: int) -> int:
    """A quarter, rounded up."""
    return -(-characters // _CHARACTERS_PER_TOKEN)


def characters(blocks: Iterable[Block]) -> int:
    """How much a model reads in content blocks: texts, calls with their arguments, results, thoughts."""
    return sum(_characters(block) for block in blocks)


def step_characters(content: Any) -> int:  # noqa: ANN401  as a step keeps it
    """The same for what a step left: a model's blocks, one tool result, or nothing."""
    if isinstance(content, list):
        return characters(cast("list[Block]", content))
    return _characters(content) if content else 0


def reported_tokens(counted: int, prompt: Prompt) -> int | None:
    """The history with its answer in a provider's count, without system and tools; None where it counted nothing."""
    fixed = characters(prompt.system) + (len(json.dumps(prompt.tools, ensure_ascii=False)) if prompt.tools else 0)
    return max(0, counted - tokens(fixed)) if counted else None


def used_tokens(turns: Sequence[PastTurn], summary: str | None) -> int:
    """What the history of ``turns``, the last of them perhaps in work, takes of the context."""
    reported, since = 0, len(summary or "")
    for turn in turns:
        since += characters(input_blocks(turn.input))
        for step in turn.untold:
            since += step_characters(step.content)
            if step.context_tokens is not None:
                reported, since = step.context_tokens, 0
        since += _answered_characters(turn)
    return reported + tokens(since)


def is_due(past: Sequence[PastTurn], present: PastTurn, summary: str | None, *, soft_limit: int) -> bool:
    """Whether to compact before the next model call: nearly full, and enough of it can be cut off.

    The present turn's input always stays, and a summary is not made shorter by a summary of it.
    """
    used = used_tokens([*past, present], summary)
    stays = tokens(characters(input_blocks(present.input)) + len(summary or ""))
    return used >= _COMPACT_AT * soft_limit and used - stays >= _WORTH_IT * soft_limit


def summary_request(
    past: Sequence[PastTurn], present: PastTurn | None, summary: str | None, *, soft_limit: int
) -> list[Message]:
    """What a model is asked when the past, and what was done of the present turn, become a summary.

    Of a past that is too long to be read at once the oldest turns are left out, but never all of it. Empty: there
    is nothing new to tell.
    """
    new = past_messages(_fitting(past, soft_limit))
    if present is not None and present.untold:
        new += turn_messages(present)
    if not new:
        return []
    messages = [*summary_messages(summary), *new]
    if messages[-1]["role"] == "user":
        return [*messages[:-1], {"role": "user", "content": [*messages[-1]["content"], _ASK]}]
    return [*messages, {"role": "user", "content": [_ASK]}]


def compacted(summary: str, cutoff_at: str, *, automatic: bool) -> Segment:
    """The marker of a compaction."""
    return {
        "type": "context_compacted",
        "text": "Context Compacted",
        "summary": summary,
        "cutoff_at": cutoff_at,
        "automatic": automatic,
    }


def cleared(cutoff_at: str) -> Segment:
    """The marker of a cutoff that keeps nothing."""
    return {"type": "context_cleared", "text": "Context Cleared", "cutoff_at": cutoff_at}


def restored(cutoff_at: str | None) -> Segment:
    """The marker of a cutoff that was taken back; ``cutoff_at`` is the one before it, which counts again."""
    return {"type": "context_restored", "text": "Context Restored", "cutoff_at": cutoff_at}


def _fitting(past: Sequence[PastTurn], soft_limit: int) -> Sequence[PastTurn]:
    left = soft_limit
    for index in range(len(past) - 1, -1, -1):
        turn = past[index]
        worked = sum(step_characters(step.content) for step in turn.untold)
        left -= tokens(characters(input_blocks(turn.input)) + worked + _answered_characters(turn))
        if left < 0:
            return past[min(index + 1, len(past) - 1) :]
    return past


def _answered_characters(turn: PastTurn) -> int:
    """Of an answer from outside, or an agent's posted words: they are told where no step tells anything."""
    return 0 if turn.untold else len(turn.answer or "")


def _characters(block: Block) -> int:
    match block.get("type"):
        case "chat_message":  # the blocks after it say the same
            return 0
        case "text":
            return len(str(block.get("text", "")))
        case "thinking":
            return len(str(block.get("thinking", "")))
        case "tool_use":
            return len(str(block.get("name", ""))) + len(_json(block.get("input")))
        case "tool_result":
            content = block.get("content")
            return len(content) if isinstance(content, str) else len(_json(content))
        case _:
            return len(_json(block))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
