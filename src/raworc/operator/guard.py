"""An agent's guardrails at work in a turn. Long texts are searched in a thread: the operator's loop does not wait."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from raworc.domain.guardrails import WITHHELD, Guardrails
from raworc.domain.turns import Block, Failure, Segment, ToolUse, note
from raworc.operator.tools import ToolOutput, refused
from raworc.services.approvals import Question
from raworc.services.requests import TurnCost

_UNPRICED: Final = "Some model calls have no known price: 'max_turn_cost_usd' does not count them"


class Guard:
    """Asked before anything goes in or comes out. Without rules it costs nothing."""

    def __init__(self, rules: Guardrails) -> None:
        self._rules = rules
        self._told_unpriced = False

    async def blocked_input(self, given: object) -> Failure | None:
        """Why a turn with this input ends before its first model call."""
        if not self._rules.block_input:
            return None
        return await asyncio.to_thread(self._rules.blocked_input, given)

    async def blocked_output(self, blocks: Sequence[Block]) -> Failure | None:
        """Why a turn ends with this message of the model, unseen."""
        if not self._rules.block_output:
            return None
        return await asyncio.to_thread(self._rules.blocked_output, blocks)

    def denied(self, use: ToolUse) -> ToolOutput | None:
        """The answer to a call that must not be made."""
        reason = self._rules.denied(use)
        return None if reason is None else refused(reason)

    async def question(self, step: int, use: ToolUse) -> Question | None:
        """What a person is asked before this call is made."""
        if not self._rules.asks(use):
            return None
        args = await asyncio.to_thread(self._rules.struck_json, use.args) if self._rules.redact else use.args
        return Question(step, use.id, use.name, args)

    def unpriced(self, cost: TurnCost) -> list[Segment]:
        """What people are told, once, of model calls that a limit of cost does not count."""
        if not cost.unpriced or self._told_unpriced:
            return []
        self._told_unpriced = True
        return [note("warning", _UNPRICED)]

    async def cleaned(self, output: ToolOutput) -> ToolOutput:
        """A tool's answer as it may be let out."""
        if not self._rules.hides_output:
            return output
        text = await asyncio.to_thread(self._rules.cleaned, output.text)
        if text is None:
            return refused(WITHHELD)
        return replace(output, text=text, content=await self._struck(output.content))

    async def shown(self, segments: Sequence[Segment]) -> list[Segment]:
        """Segments as people may see them; tools' answers were cleaned before."""
        if not self._rules.redact:
            return list(segments)
        return await asyncio.to_thread(
            lambda: [part if part["type"] == "tool_result" else self._rules.shown(part) for part in segments]
        )

    async def struck(self, text: str) -> str:
        """A text as people and the model may see it."""
        return await asyncio.to_thread(self._rules.struck, text) if self._rules.redact else text

    async def _struck(self, content: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if content is None else await asyncio.to_thread(self._rules.struck_json, content)
