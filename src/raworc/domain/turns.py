"""What a turn does next, decided from what is stored about it: its steps.

A step is one model call or one tool run. It is stored ``started`` before it is done and ``done`` with its result
after, so whoever continues a turn knows what must not be done twice: a model call may, a tool may not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Block = dict[str, Any]
"""One content block of the Messages API, kept as the provider sent it."""

Segment = dict[str, Any]
"""One recorded step of a turn as the API shows it; ``type`` names its kind."""

CHAT_MESSAGE: Final = "chat_message"
"""The kind of block that keeps an answer of the other wire as it came (``message``), for its ``model`` alone.

``blocks`` of those after it say the same in the Messages API's words.
"""

MAX_ATTEMPTS: Final = 4
UNKNOWN_OUTCOME: Final = "outcome unknown, the worker stopped"

StepKind = Literal["model", "tool", "handler"]
StepState = Literal["started", "done", "unknown"]


@dataclass(frozen=True)
class Step:
    """One row of the turn's log. ``content``: a model's blocks, or the tool_result block that the model gets.

    A code agent's handler answers with blocks, as a model does, and is asked once, as a tool is.

    ``context_tokens`` of a model call: the history with its answer, as the provider counted it, if it did.
    ``tokens``: what a model call used in all, as its provider counted.
    """

    number: int
    kind: StepKind
    state: StepState
    content: Any = None
    tool_use_id: str | None = None
    context_tokens: int | None = None
    tokens: int = 0

    @property
    def blocks(self) -> list[Block]:
        """The blocks of a finished model call, or handler; empty for everything else."""
        return list(self.content) if self.kind != "tool" and self.state == "done" and self.content else []


@dataclass(frozen=True)
class ToolUse:
    """A tool call that the model asks for. ``args`` is whatever JSON it sent."""

    id: str
    name: str
    args: Any


@dataclass(frozen=True)
class CallModel:
    """Ask the model, as step ``number``."""

    number: int


@dataclass(frozen=True)
class RunTool:
    """Run one tool, as step ``number``."""

    number: int
    use: ToolUse


@dataclass(frozen=True)
class ReportUnknown:
    """Step ``number`` ran this tool when its worker stopped: say so to the model, never run it again."""

    number: int
    use: ToolUse


@dataclass(frozen=True)
class Answer:
    """The turn is complete with this text."""

    text: str


@dataclass(frozen=True)
class Failure:
    """The turn failed; ``code`` is stable, ``message`` is for people."""

    code: str
    message: str


def following(
    steps: Sequence[Step], *, model_calls: int, max_model_calls: int
) -> CallModel | RunTool | Answer | Failure:
    """What comes after steps that are all finished. ``model_calls`` counts the calls made so far."""
    asked = _newest_call(steps)
    if asked is not None:
        uses = tool_uses(asked.blocks)
        if not uses:
            return Answer(final_text(asked.blocks))
        handled = {step.tool_use_id for step in steps if step.number > asked.number}
        waiting = [use for use in uses if use.id not in handled]
        if waiting:
            return RunTool(_next_number(steps), waiting[0])
    if model_calls >= max_model_calls:
        return Failure("turn_limit", f"The turn made {model_calls} model calls, the most that one turn may make")
    return CallModel(_next_number(steps))


def resumed(
    steps: Sequence[Step], *, model_calls: int, max_model_calls: int
) -> CallModel | RunTool | ReportUnknown | Answer | Failure:
    """How another worker continues a turn: what it finds started is called again (model) or unknown (tool)."""
    last = steps[-1] if steps else None
    if last is None or last.state != "started":
        return following(steps, model_calls=model_calls, max_model_calls=max_model_calls)
    if last.kind == "model":
        rest = following(steps[:-1], model_calls=model_calls, max_model_calls=max_model_calls)
        return rest if isinstance(rest, Failure) else CallModel(last.number)
    return ReportUnknown(last.number, _use_of(steps, last))


def crash_looped(attempts: int) -> Failure | None:
    """The end of a turn whose workers stopped ``attempts`` times in a row without one new segment."""
    if attempts < MAX_ATTEMPTS:
        return None
    return Failure("operator_crash_loop", f"The worker stopped {attempts} times in a row while it ran this turn")


def tool_uses(blocks: Sequence[Block]) -> list[ToolUse]:
    """The tool calls among a model's blocks, in their order."""
    return [
        ToolUse(str(block.get("id", "")), str(block.get("name", "")), block.get("input"))
        for block in blocks
        if block.get("type") == "tool_use"
    ]


def final_text(blocks: Sequence[Block]) -> str:
    """The text of an answer: its text blocks, which the provider may cut anywhere, put together again."""
    return "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")


def message_segments(blocks: Sequence[Block]) -> list[Segment]:
    """What a model's message shows: its thoughts, and its text and calls, or its text as the final answer."""
    calls = bool(tool_uses(blocks))
    segments = [segment for block in blocks if (segment := _segment(block, calls=calls)) is not None]
    if not calls:
        segments.append({"type": "final", "channel": "final", "text": final_text(blocks)})
    return segments


def _segment(block: Block, *, calls: bool) -> Segment | None:
    match block.get("type"):
        case "thinking" if block.get("thinking"):
            return {"type": "commentary", "channel": "analysis", "text": block["thinking"]}
        case "text" if calls and block.get("text"):
            return {"type": "commentary", "channel": "commentary", "text": block["text"]}
        case "tool_use":
            return {"type": "tool_call", "id": block.get("id"), "tool": block.get("name"), "args": block.get("input")}
        case _:
            return None


def note(level: Literal["info", "warning", "error"], text: str) -> Segment:
    """A remark of the platform's own in a turn."""
    return {"type": "note", "level": level, "text": text}


def _newest_call(steps: Sequence[Step]) -> Step | None:
    return next((step for step in reversed(steps) if step.kind == "model"), None)


def _next_number(steps: Sequence[Step]) -> int:
    return steps[-1].number + 1 if steps else 1


def _use_of(steps: Sequence[Step], tool: Step) -> ToolUse:
    asked = _newest_call(steps)
    uses = tool_uses(asked.blocks) if asked else []
    return next((use for use in uses if use.id == tool.tool_use_id), ToolUse(tool.tool_use_id or "", "", None))
