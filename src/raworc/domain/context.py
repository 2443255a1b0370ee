"""What the model is told: the session's history as messages that are valid for the Messages API.

Assistant blocks are replayed exactly as the provider sent them. Roles alternate, the first message is the
user's, and every tool call has its result in the message after it, whatever happened to the turn.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, Final, cast

from raworc.domain.summary import CONTINUED, begun, continuing
from raworc.domain.turns import Block, Step, tool_uses

Message = dict[str, Any]
"""``{"role": "user" | "assistant", "content": [block, ...]}``."""

EMPTY_INPUT: Final = "(an empty message)"
NO_ANSWER: Final = "(This turn ended without an answer.)"
NOT_RUN: Final = "not run: the turn ended first"
_AGENT_ANSWERED: Final = "(The agent '{name}' answered this.)"
_DEFAULT_ANSWERED: Final = "(No agent answered this, but the model that answers where there is none.)"
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})
_ANSWERED: Final = "(An answer from outside follows.)"
_NOTED: Final = "(A note of the system:)\n{text}"
_UNDERSTOOD: Final = "Understood."
_CACHED: Final = {"type": "ephemeral"}
_SITUATION: Final = (
    "You are '{name}', an agent that works in a Linux sandbox of its own. Your workspace is '/agent': keep programs in"
    " '/agent/code' and everything else you make in '/agent/content'. Its files outlast the sandbox; running processes"
    " and '/tmp' do not. There is no network. Use the tools to do the work, look at what really happened, and then"
    " answer in a few plain sentences."
)


@dataclass(frozen=True)
class Speaker:
    """Who answers a turn of a session that may have several agents; without an id the default model of its space."""

    agent_id: uuid.UUID | None = None
    name: str | None = None


@dataclass(frozen=True)
class PastTurn:
    """One turn as it is stored. ``answer`` is what an outside writer gave as its output, if any did.

    ``told`` is how many of its steps the summary before it tells of: they are not shown any more. ``speaker`` is None
    where only one agent ever answers, and where the reader need not be told who did.
    """

    input: Any
    steps: tuple[Step, ...] = ()
    answer: str | None = None
    told: int = 0
    speaker: Speaker | None = None

    @property
    def untold(self) -> tuple[Step, ...]:
        """The steps that are shown as they were."""
        return tuple(step for step in self.steps if step.number > self.told)


@dataclass(frozen=True)
class Prompt:
    """All of a model request but the model's name and the limit of its answer."""

    system: list[Block]
    tools: list[Block]
    messages: list[Message] = field(default_factory=list[Message])


def system_text(name: str, instructions: str | None) -> str:
    """The fixed text about where the agent works, then its own instructions."""
    situation = _SITUATION.format(name=name)
    return f"{situation}\n\n{instructions}" if instructions and instructions.strip() else situation


def past_messages(past: Sequence[PastTurn]) -> list[Message]:
    """The messages of finished turns, each closed by an answer."""
    return [message for turn in past for message in _closed(turn_messages(turn), turn.answer)]


def seen_by(agent_id: uuid.UUID | None, past: Sequence[PastTurn]) -> list[PastTurn]:
    """Finished turns as one agent is told of them: where it answered itself it need not be told so."""
    return [
        replace(turn, speaker=None) if turn.speaker is not None and turn.speaker.agent_id == agent_id else turn
        for turn in past
    ]


def said_turn(given: dict[str, Any]) -> PastTurn:
    """What somebody put into the conversation from outside, as a turn: an agent's words, or a note of the system."""
    text = "\n".join(_texts(given))
    if given.get("role") == "AGENT":
        return PastTurn({"text": _ANSWERED}, answer=text)
    return PastTurn({"text": _NOTED.format(text=text)}, answer=_UNDERSTOOD)


def turn_messages(turn: PastTurn) -> list[Message]:
    """The messages of one turn as far as it is: its input, the model's blocks, the results of its calls."""
    messages: list[Message] = [
        {"role": "user", "content": [*input_blocks(turn.input), *_begun(turn), *_marked_as_anothers(turn)]}
    ]
    steps = turn.untold
    for index, step in enumerate(steps):
        blocks = [block for block in step.blocks if not (_is_blank(block) or _is_anothers_thought(turn, block))]
        if not blocks:
            continue
        _add(messages, "assistant", blocks)
        uses = tool_uses(blocks)
        if uses:
            results = _results(steps[index + 1 :])
            _add(messages, "user", [results.get(use.id) or tool_result(use.id, NOT_RUN, is_error=True) for use in uses])
    return messages


def summary_messages(summary: str | None) -> list[Message]:
    """What stands for all that was cut off; nothing where nothing was kept of it."""
    if not summary:
        return []
    said = {"type": "text", "text": continuing(summary)}
    return [
        {"role": "user", "content": [said]},
        {"role": "assistant", "content": [{"type": "text", "text": CONTINUED}]},
    ]


def cached(prompt: Prompt) -> Prompt:
    """The same with the provider's cache breakpoints: after the system, the tools and the last user message."""
    messages = list(prompt.messages)
    for index in range(len(messages) - 1, -1, -1):
        if messages[index]["role"] == "user":
            messages[index] = {**messages[index], "content": _marked(messages[index]["content"])}
            break
    return Prompt(_marked(prompt.system), _marked(prompt.tools), messages)


def input_blocks(given: Any) -> list[Block]:  # noqa: ANN401  the user's own JSON
    """A turn's input as content blocks; never empty, and no blank text, which providers refuse."""
    texts = [text for text in _texts(given) if text.strip()]
    return [{"type": "text", "text": text} for text in texts or [EMPTY_INPUT]]


def tool_result(tool_use_id: str, output: str, *, is_error: bool) -> Block:
    """The block that tells the model what a tool answered."""
    block: Block = {"type": "tool_result", "tool_use_id": tool_use_id, "content": output}
    return {**block, "is_error": True} if is_error else block


def _begun(turn: PastTurn) -> list[Block]:
    calls = sum(step.kind == "tool" for step in turn.steps if step.number <= turn.told)
    return [{"type": "text", "text": begun(calls)}] if turn.told else []


def _results(after: Sequence[Step]) -> dict[str | None, Block]:
    """Tool results by the call's id, up to the next model call: a provider may use an id again later."""
    tools = takewhile(lambda step: step.kind == "tool", after)
    return {step.tool_use_id: step.content for step in tools if step.content}


def _add(messages: list[Message], role: str, blocks: list[Block]) -> None:
    if messages[-1]["role"] == role:
        blocks = messages.pop()["content"] + blocks
    messages.append({"role": role, "content": blocks})


def _closed(messages: list[Message], answer: str | None) -> list[Message]:
    if messages[-1]["role"] == "assistant":
        return messages
    text = answer if answer and answer.strip() else NO_ANSWER
    return [*messages, {"role": "assistant", "content": [{"type": "text", "text": text}]}]


def _marked_as_anothers(turn: PastTurn) -> list[Block]:
    """Told in the user's message, because models go on writing what stands in their own."""
    if turn.speaker is None:
        return []
    name = turn.speaker.name
    return [{"type": "text", "text": _DEFAULT_ANSWERED if name is None else _AGENT_ANSWERED.format(name=name)}]


def _is_anothers_thought(turn: PastTurn, block: Block) -> bool:
    """Thoughts are signed for the model that had them, which another agent's need not be."""
    return turn.speaker is not None and block.get("type") in _THOUGHTS


def _is_blank(block: Block) -> bool:
    return block.get("type") == "text" and not str(block.get("text", "")).strip()


def _texts(given: object) -> list[str]:
    if not isinstance(given, dict):
        return [_text(given)]
    items: object = cast("dict[str, Any]", given).get("content")
    if isinstance(items, list):
        return [_text(item) for item in cast("list[Any]", items)]
    legacy: object = cast("dict[str, Any]", given).get("text")
    return [legacy] if isinstance(legacy, str) else []


def _text(item: object) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, dict):
        content: object = cast("dict[str, Any]", item).get("content")
        if cast("dict[str, Any]", item).get("type") == "text" and isinstance(content, str):
            return content
    return json.dumps(item, ensure_ascii=False)


def _marked(blocks: list[Block]) -> list[Block]:
    return [*blocks[:-1], {**blocks[-1], "cache_control": _CACHED}] if blocks else blocks
