"""Tool calls of a session that wait for a person, because a guardrail of the agent that answers says so."""

from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.approvals import Approval, DecisionBody, approval_id_of, approval_object
from raworc.api.auth import MayGetSession, MayUpdateSession
from raworc.api.bodies import JsonBody
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.render import Json
from raworc.api.routes import Route
from raworc.errors import Conflict
from raworc.services.approvals import Verdict


async def list_approvals(request: Request, id: str, caller: MayGetSession) -> Response:  # noqa: A002  the path's word
    """What the session waits for, oldest first."""
    return Json([approval_object(found) for found in await parts_of(request).approvals.open_in_session(caller, id)])


async def decide_approval(
    request: Request,
    id: str,  # noqa: A002  the path's word
    approval_id: str,
    caller: MayUpdateSession,
    body: Annotated[DecisionBody, Depends(JsonBody(DecisionBody))],
    once: Once,
) -> Response:
    """Let the call be made, or deny it: then the model is told so, and goes on."""
    approvals, which = parts_of(request).approvals, approval_id_of(approval_id)
    verdict = Verdict(body.decision, body.reason)
    return await once.answer(
        caller, lambda keep: approvals.decide_in_session(caller, id, which, verdict, keep), approval_object
    )


ROUTES: Final = (
    Route("GET", "/sessions/{id}/approvals", list_approvals, list[Approval]),
    Route("POST", "/sessions/{id}/approvals/{approval_id}", decide_approval, Approval, fails=(Conflict,)),
)
