"""Tool calls that wait for a person: which there are, and what is decided."""

from typing import Literal

from raworc.client.shapes import Approval
from raworc.client.transport import Transport, segment, without_none


class Approvals:
    """What agents ask before they do it (the guardrail ``approve_tools``): ``client.approvals``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def open(self, agent: str) -> tuple[Approval, ...]:
        """What the agent waits for, oldest first."""
        return self._transport.get(_path(agent), tuple[Approval, ...])

    def approve(self, agent: str, approval_id: str) -> Approval:
        """Let the call be made. Raises Conflict when it was denied, or nobody waits for it any more."""
        return self._decide(agent, approval_id, "approve", None)

    def deny(self, agent: str, approval_id: str, *, reason: str | None = None) -> Approval:
        """Have the call not made; the model is told so, with the reason. Raises as ``approve``."""
        return self._decide(agent, approval_id, "deny", reason)

    def _decide(
        self, agent: str, approval_id: str, decision: Literal["approve", "deny"], reason: str | None
    ) -> Approval:
        body = without_none({"decision": decision, "reason": reason})
        return self._transport.call("POST", f"{_path(agent)}/{segment(approval_id)}", Approval, body)


def _path(agent: str) -> str:
    return f"/agents/{segment(agent)}/approvals"
