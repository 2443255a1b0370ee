"""Agents of a space that are code of repositories."""

from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import (
    MayCreateDefinition,
    MayDeleteDefinition,
    MayGetDefinition,
    MayListDefinitions,
    MayUpdateDefinition,
)
from raworc.api.bodies import JsonBody
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.queries import AccountLimit, Offset
from raworc.api.render import Empty, Json
from raworc.api.routes import Route
from raworc.api.spaces.agent_schemas import CodeAgentChangeBody, NewCodeAgentBody, SpaceAgent, StatusBody
from raworc.errors import Conflict
from raworc.services.code_agents import CodeAgent, CodeAgentRow


async def list_space_agents(
    request: Request, name: str, caller: MayListDefinitions, *, limit: AccountLimit = 1000, offset: Offset = 0
) -> Response:
    """The agents of a space, by name."""
    found = await parts_of(request).tenants.code_agents.page(caller, name, limit=limit, offset=offset)
    return Json([_agent(row) for row in found])


async def create_space_agent(
    request: Request,
    name: str,
    caller: MayCreateDefinition,
    body: Annotated[NewCodeAgentBody, Depends(JsonBody(NewCodeAgentBody))],
    once: Once,
) -> Response:
    """A new agent. The space is built then."""
    new = CodeAgent(body.name, body.description, body.purpose, body.source_repo, body.source_branch)
    agents = parts_of(request).tenants.code_agents
    return await once.answer(caller, lambda keep: agents.create(caller, name, new, keep), _agent)


async def get_space_agent(request: Request, name: str, agent_name: str, caller: MayGetDefinition) -> Response:
    """One agent."""
    return Json(_agent(await parts_of(request).tenants.code_agents.get(caller, name, agent_name)))


async def update_space_agent(
    request: Request,
    name: str,
    agent_name: str,
    caller: MayUpdateDefinition,
    body: Annotated[CodeAgentChangeBody, Depends(JsonBody(CodeAgentChangeBody))],
) -> Response:
    """Change what is given. The space is built then."""
    change = CodeAgent(None, body.description, body.purpose, body.source_repo, body.source_branch)
    return Json(_agent(await parts_of(request).tenants.code_agents.update(caller, name, agent_name, change)))


async def delete_space_agent(request: Request, name: str, agent_name: str, caller: MayDeleteDefinition) -> Response:
    """Take an agent away: its name is free, it answers no message any more."""
    await parts_of(request).tenants.code_agents.delete(caller, name, agent_name)
    return Empty()


async def switch_space_agent(
    request: Request,
    name: str,
    agent_name: str,
    caller: MayUpdateDefinition,
    body: Annotated[StatusBody, Depends(JsonBody(StatusBody))],
) -> Response:
    """Let an agent take part or not. Who takes part again is built again."""
    return Json(_agent(await parts_of(request).tenants.code_agents.switch(caller, name, agent_name, body.status)))


def _agent(row: CodeAgentRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "description": row.description,
        "purpose": row.purpose,
        "source_repo": row.source_repo,
        "source_branch": row.source_branch,
        "status": "active" if row.active else "inactive",
    }


_ALL: Final = "/spaces/{name}/agents"
_ONE: Final = "/spaces/{name}/agents/{agent_name}"

ROUTES: Final = (
    Route("GET", _ALL, list_space_agents, list[SpaceAgent]),
    Route("POST", _ALL, create_space_agent, SpaceAgent, fails=(Conflict,)),
    Route("GET", _ONE, get_space_agent, SpaceAgent),
    Route("PUT", _ONE, update_space_agent, SpaceAgent),
    Route("DELETE", _ONE, delete_space_agent),
    Route("PATCH", f"{_ONE}/status", switch_space_agent, SpaceAgent),
)
