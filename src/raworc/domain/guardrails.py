"""What an agent may not take in, do, or let out, read from its list ``guardrails``.

Rules on commands are for agents that go astray, not for attackers: a command can be written in many ways. What
isolates is the sandbox.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Final, cast

from raworc.domain.context import input_blocks
from raworc.domain.output import Captured
from raworc.domain.patterns import BadPattern, Pattern
from raworc.domain.turns import Block, Failure, Segment, ToolUse, final_text, note

WITHHELD: Final = "withheld: a guardrail of the agent blocks this output"
_UNTOUCHED: Final = frozenset({"type", "id", "tool", "channel", "level", "at"})
_LIMITS: Final = ("max_turn_tokens", "max_turn_cost_usd")
_SHOWN_CHARACTERS: Final = 80


class _Incomplete(ValueError):
    """An entry that says nothing; the message says why."""


@dataclass(frozen=True)
class Guardrails:
    """The rules, by what they watch. ``remarks`` are about entries that mean nothing, for people."""

    block_input: tuple[Pattern, ...] = ()
    block_output: tuple[Pattern, ...] = ()
    redact: tuple[Pattern, ...] = ()
    deny_commands: tuple[Pattern, ...] = ()
    deny_tools: tuple[str, ...] = ()
    approve_tools: tuple[str, ...] = ()
    max_turn_tokens: int | None = None
    max_turn_cost_usd: Decimal | None = None
    remarks: tuple[str, ...] = field(default=(), compare=False)

    @property
    def hides_output(self) -> bool:
        """Whether what the model says must be seen whole before anyone else sees any of it."""
        return bool(self.block_output or self.redact)

    def blocked_input(self, given: object) -> Failure | None:
        """The end of a turn whose input, as given by the user, must not reach the model."""
        if not _matches(self.block_input, (str(block["text"]) for block in input_blocks(given))):
            return None
        return Failure("input_blocked", "A guardrail of the agent blocks this input; it did not reach the model")

    def blocked_output(self, blocks: Sequence[Block]) -> Failure | None:
        """The end of a turn whose model said what must not be let out."""
        said = [text for block in blocks for text in _said(block)]
        if not _matches(self.block_output, [*said, final_text(blocks)]):
            return None
        return Failure("output_blocked", "A guardrail of the agent blocks what the model answered")

    def denied(self, use: ToolUse) -> str | None:
        """Why this tool call must not be made; None when it may."""
        if self.denies_tool(use.name):
            return f"not run: a guardrail of the agent denies the tool '{use.name}'"
        command = _mapping(use.args).get("command")
        if use.name == "bash" and isinstance(command, str) and _matches(self.deny_commands, [command]):
            return "not run: a guardrail of the agent denies this command"
        return None

    def denies_tool(self, name: str) -> bool:
        """Whether a tool of this name must not be there; in rules ``*`` stands for any characters."""
        return any(fnmatchcase(name, denied) for denied in self.deny_tools)

    def asks(self, use: ToolUse) -> bool:
        """Whether a person has to approve of this call; nobody is asked about one that is denied anyway."""
        return any(fnmatchcase(use.name, named) for named in self.approve_tools) and self.denied(use) is None

    def spent(self, tokens: int) -> Failure | None:
        """The end of a turn that has used so many tokens and would ask the model once more."""
        if self.max_turn_tokens is None or tokens < self.max_turn_tokens:
            return None
        reason = f"A guardrail allows {self.max_turn_tokens} tokens a turn, and this one has used {tokens}"
        return Failure("token_limit", reason)

    def overspent(self, cost_usd: Decimal) -> Failure | None:
        """The end of a turn whose calls have cost so much and that would ask the model once more."""
        if self.max_turn_cost_usd is None or cost_usd < self.max_turn_cost_usd:
            return None
        reason = f"A guardrail allows {self.max_turn_cost_usd} USD a turn, and this one has cost {cost_usd:f}"
        return Failure("cost_limit", reason)

    def cleaned(self, output: Captured) -> Captured | None:
        """A tool's output with what is to be struck out struck out; None when it must not be let out."""
        if _matches(self.block_output, [output.head, output.tail]):
            return None
        return replace(output, head=self.struck(output.head), tail=self.struck(output.tail))

    def shown(self, segment: Segment) -> Segment:
        """A segment as people may see it."""
        if not self.redact:
            return segment
        return {key: value if key in _UNTOUCHED else self.struck_json(value) for key, value in segment.items()}

    def struck_json(self, value: Any) -> Any:  # noqa: ANN401  any JSON
        """JSON with what is to be struck out struck out, keys too."""
        if isinstance(value, str):
            return self.struck(value)
        if isinstance(value, list):
            return [self.struck_json(item) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            return {self.struck(key): self.struck_json(item) for key, item in items}
        return value

    def struck(self, text: str) -> str:
        """Text with what is to be struck out struck out."""
        for pattern in self.redact:
            text = pattern.struck(text)
        return text


def guardrails(entries: Sequence[Any]) -> Guardrails:
    """What ``entries`` say, added up; of two limits the lower one counts."""
    found = Guardrails()
    for number, entry in enumerate(entries):
        try:
            found = _sum(found, _read(entry))
        except _Incomplete as error:
            found = replace(found, remarks=(*found.remarks, f"'guardrails.{number}' is ignored: {error}"))
    return found


def approval_asked(approval_id: str, tool_use_id: str, tool: str) -> Segment:
    """What a turn shows while it waits for a person. Who knows nothing of approvals sees a note."""
    told = {"id": approval_id, "tool_call_id": tool_use_id, "tool": tool, "decision": None}
    return {**note("warning", f"The tool '{tool}' waits for approval '{approval_id}'"), "approval": told}


def approval_given(approval_id: str, tool: str, decision: str, by: str, reason: str | None) -> Segment:
    """What a turn shows once somebody has decided."""
    done = "approved" if decision == "approve" else "denied"
    told = {"id": approval_id, "tool": tool, "decision": decision, "by": by, "reason": reason}
    return {**note("info", f"The tool '{tool}' was {done} by '{by}'{_because(reason)}"), "approval": told}


def not_approved(tool: str, reason: str | None) -> str:
    """What a model is told of a call that a person has denied."""
    return f"not run: a person denied this call of '{tool}'{_because(reason)}"


def _because(reason: str | None) -> str:
    return "" if reason is None else f": {reason}"


def _read(entry: object) -> Guardrails:
    rule = _mapping(entry)
    kind = rule.get("type")
    if not isinstance(kind, str):
        raise _Incomplete("it is no object with a 'type'")
    reader = _KINDS.get(kind)
    if reader is None:
        raise _Incomplete(f"its type '{kind[:_SHOWN_CHARACTERS]}' is not known")
    try:
        return reader(rule)
    except BadPattern as error:
        raise _Incomplete(str(error)) from None


def _block(rule: Mapping[str, Any]) -> Guardrails:
    pattern = Pattern.of(rule.get("pattern"))
    match rule.get("on"):
        case "input":
            return Guardrails(block_input=(pattern,))
        case "output":
            return Guardrails(block_output=(pattern,))
        case _:
            raise _Incomplete("its 'on' is neither 'input' nor 'output'")


def _redact(rule: Mapping[str, Any]) -> Guardrails:
    pattern = Pattern.of(rule.get("pattern"))
    if pattern.is_in(""):
        raise _Incomplete("its pattern matches the empty text, which is everywhere")
    return Guardrails(redact=(pattern,))


def _deny_commands(rule: Mapping[str, Any]) -> Guardrails:
    return Guardrails(deny_commands=(Pattern.of(rule.get("pattern")),))


def _deny_tools(rule: Mapping[str, Any]) -> Guardrails:
    return Guardrails(deny_tools=_names(rule))


def _approve_tools(rule: Mapping[str, Any]) -> Guardrails:
    return Guardrails(approve_tools=_names(rule))


def _names(rule: Mapping[str, Any]) -> tuple[str, ...]:
    given = rule.get("tools")
    names = cast("list[Any]", given) if isinstance(given, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise _Incomplete("it has no list of names 'tools'")
    return tuple(names)


def _max_turn_tokens(rule: Mapping[str, Any]) -> Guardrails:
    limit = _number(rule)
    if limit < 1:
        raise _Incomplete("its 'limit' is no number of at least 1")
    return Guardrails(max_turn_tokens=int(limit))


def _max_turn_cost(rule: Mapping[str, Any]) -> Guardrails:
    limit = _number(rule)
    if limit <= 0:
        raise _Incomplete("its 'limit' is no number above 0")
    return Guardrails(max_turn_cost_usd=Decimal(str(limit)))


def _number(rule: Mapping[str, Any]) -> float:
    limit = rule.get("limit")
    return limit if isinstance(limit, int | float) and not isinstance(limit, bool) else 0


_KINDS: Final[Mapping[str, Callable[[Mapping[str, Any]], Guardrails]]] = {
    "block": _block,
    "redact": _redact,
    "deny_commands": _deny_commands,
    "deny_tools": _deny_tools,
    "approve_tools": _approve_tools,
    "max_turn_tokens": _max_turn_tokens,
    "max_turn_cost_usd": _max_turn_cost,
}


def _sum(one: Guardrails, other: Guardrails) -> Guardrails:
    lists = {
        name.name: getattr(one, name.name) + getattr(other, name.name)
        for name in fields(Guardrails)
        if name.name not in _LIMITS
    }
    limits = {name: _lower(getattr(one, name), getattr(other, name)) for name in _LIMITS}
    return Guardrails(**lists, **limits)


def _lower(one: Any, other: Any) -> Any:  # noqa: ANN401  numbers of one kind, or None
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _matches(patterns: Sequence[Pattern], texts: Iterable[str]) -> bool:
    return bool(patterns) and any(pattern.is_in(text) for text in texts for pattern in patterns)


def _said(block: Block) -> Iterator[str]:
    match block.get("type"):
        case "text" | "thinking" as kind:
            yield str(block.get(kind) or "")
        case "tool_use":
            yield from _texts(block.get("input"))
        case _:
            return


def _texts(value: object) -> Iterator[str]:
    """Every text in any JSON, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield key
            yield from _texts(item)
