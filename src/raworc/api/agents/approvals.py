"""Tool calls that wait for a person: which there are, and what is decided about one."""

import uuid
from typing import Annotated, Any, Final, Literal

from fastapi import Depends
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.schemas import Time
from raworc.api.auth import MayGet, MayUpdate
from raworc.api.bodies import Body, JsonBody
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.render import Json, moment
from raworc.api.routes import Route
from raworc.api.schemas import Answer
from raworc.domain.text import storable_text
from raworc.errors import Conflict, NotFound
from raworc.services.approvals import MAX_REASON_CHARACTERS, ApprovalRow, Verdict


class DecisionBody(Body):
    """What is to become of a call; the model is told the reason of a denial."""

    decision: Literal["approve", "deny"] = Field(description="Whether the call is made")
    reason: str | None = Field(
        default=None,
        description=f"Why, for people and the model: at most {MAX_REASON_CHARACTERS:,} characters",
        json_schema_extra={"maxLength": MAX_REASON_CHARACTERS},
    )


class Approval(Answer):
    """A tool call that waits, or waited, for a decision."""

    id: str = Field(description="What a decision names (UUID)")
    response_id: str = Field(description="The response that waits (UUID)")
    tool_call_id: str = Field(description="The `id` of its `tool_call` segment")
    tool: str = Field(description="Name of the tool")
    args: Any = Field(description="What the tool is to be given, as that segment shows it")
    asked_at: Time = Field(description="Since when it waits")
    decision: Literal["approve", "deny"] | None = Field(description="Null until somebody decides")
    reason: str | None = Field(description="What who decided said about it")
    decided_by: str | None = Field(description="Name of the account that decided")
    decided_at: Time | None = Field(description="When that was")


async def list_approvals(request: Request, name: str, caller: MayGet) -> Response:
    """What the agent waits for, oldest first."""
    return Json([approval_object(found) for found in await parts_of(request).approvals.open(caller, name)])


async def decide_approval(
    request: Request,
    name: str,
    approval_id: str,
    caller: MayUpdate,
    body: Annotated[DecisionBody, Depends(JsonBody(DecisionBody))],
    once: Once,
) -> Response:
    """Let the call be made, or deny it: then the model is told so, and goes on."""
    approvals, which = parts_of(request).approvals, approval_id_of(approval_id)
    answer = Verdict(body.decision, body.reason)
    return await once.answer(caller, lambda keep: approvals.decide(caller, name, which, answer, keep), approval_object)


def approval_id_of(given: str) -> uuid.UUID:
    """The id in a path.

    Raises:
        NotFound: it is none.
    """
    try:
        return uuid.UUID(given)
    except ValueError:
        raise NotFound(f"Approval '{storable_text(given[:80])}' not found") from None


def approval_object(row: ApprovalRow) -> dict[str, Any]:
    """A call as it is shown."""
    return {
        "id": str(row.id),
        "response_id": str(row.turn_id),
        "tool_call_id": row.tool_use_id,
        "tool": row.tool,
        "args": row.args,
        "asked_at": moment(row.asked_at),
        "decision": row.decision,
        "reason": row.reason,
        "decided_by": row.decided_by,
        "decided_at": moment(row.decided_at),
    }


ROUTES: Final = (
    Route("GET", "/agents/{name}/approvals", list_approvals, list[Approval]),
    Route("POST", "/agents/{name}/approvals/{approval_id}", decide_approval, Approval, fails=(Conflict,)),
)
