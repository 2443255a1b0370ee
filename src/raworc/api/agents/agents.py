"""Agents: create, list, look at, change, delete."""

from typing import Annotated, Final

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.render import agent_object, limits_of
from raworc.api.agents.schemas import Agent, AgentChangeBody, AgentState, ListAgentsResult, NewAgentBody
from raworc.api.agents.sharing_schemas import RemixBody
from raworc.api.auth import MayCreate, MayDelete, MayFollow, MayList, MayUpdate
from raworc.api.bodies import JsonBody
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.queries import Offset, PageNumber, PageSize
from raworc.api.render import Empty, Json
from raworc.api.routes import Route
from raworc.errors import Conflict, NotFound, RateLimited, StorageFull
from raworc.services.agents import AgentChange, AgentFilter, NewAgent
from raworc.services.remixes import Remix


async def get_agent(request: Request, name: str, caller: MayFollow) -> Response:
    """One agent by name."""
    return Json(agent_object(await parts_of(request).agents.get(caller, name)))


async def list_agents(  # noqa: PLR0913  the document's six filters
    request: Request,
    caller: MayList,
    *,
    q: Annotated[str | None, Query(description="Part of a name or description, ignoring case")] = None,
    tags: Annotated[str | None, Query(description="Comma-separated; all must be there")] = None,
    state: Annotated[AgentState | None, Query()] = None,
    limit: PageSize = 30,
    page: PageNumber = 1,
    offset: Annotated[Offset | None, Query(description="Row to start at; wins over `page`")] = None,
) -> Response:
    """Agents that the caller may see, newest first."""
    start = (page - 1) * limit if offset is None else offset
    wanted = AgentFilter(q=q, tags=_split(tags), state=state, limit=limit, offset=start)
    found = await parts_of(request).agents.page(caller, wanted)
    return Json(
        {
            "items": [agent_object(item) for item in found.items],
            "total": found.total,
            "limit": limit,
            "offset": start,
            "page": start // limit + 1,
            "pages": max(1, -(-found.total // limit)),
        }
    )


async def create_agent(
    request: Request, caller: MayCreate, body: Annotated[NewAgentBody, Depends(JsonBody(NewAgentBody))], once: Once
) -> Response:
    """A new agent; it is `init` until its sandbox is up."""
    new = NewAgent(
        name=body.name,
        description=body.description,
        metadata=body.metadata,
        tags=tuple(body.tags),
        secrets=body.secrets,
        instructions=body.instructions,
        setup=body.setup,
        prompt=body.prompt,
        idle_timeout_s=body.idle_timeout_seconds,
        busy_timeout_s=body.busy_timeout_seconds,
        space=body.space,
        model=body.model,
        max_tokens=body.max_tokens,
        network=body.network,
        limits=limits_of(body.limits),
        tools=body.tools,
        guardrails=body.guardrails,
        knowledge_bases=body.knowledge_bases,
    )
    agents = parts_of(request).agents
    return await once.answer(caller, lambda keep: agents.create(caller, new, keep), agent_object)


async def update_agent(
    request: Request, name: str, caller: MayUpdate, body: Annotated[AgentChangeBody, Depends(JsonBody(AgentChangeBody))]
) -> Response:
    """Change what is given; null keeps."""
    change = AgentChange(
        description=body.description,
        metadata=body.metadata,
        tags=None if body.tags is None else tuple(body.tags),
        instructions=body.instructions,
        setup=body.setup,
        idle_timeout_s=body.idle_timeout_seconds,
        busy_timeout_s=body.busy_timeout_seconds,
        model=body.model,
        max_tokens=body.max_tokens,
        network=body.network,
        limits=limits_of(body.limits),
        tools=body.tools,
        guardrails=body.guardrails,
        knowledge_bases=body.knowledge_bases,
    )
    return Json(agent_object(await parts_of(request).agents.update(caller, name, change)))


async def remix_agent(
    request: Request, name: str, caller: MayCreate, body: Annotated[RemixBody, Depends(JsonBody(RemixBody))], once: Once
) -> Response:
    """A new agent that starts as this one stands, its own or a published one; `init` until its files are copied."""
    wish = Remix(body.name, metadata=body.metadata, code=body.code, secrets=body.secrets, prompt=body.prompt)
    remixes = parts_of(request).remixes
    return await once.answer(caller, lambda keep: remixes.make(caller, name, wish, keep), agent_object)


async def delete_agent(request: Request, name: str, caller: MayDelete) -> Response:
    """Stop what runs and remove the agent with its files; its name is free at once."""
    await parts_of(request).agents.delete(caller, name)
    return Empty()


def _split(tags: str | None) -> tuple[str, ...]:
    return tuple(tag.strip() for tag in (tags or "").split(",") if tag.strip())


ROUTES: Final = (
    Route("GET", "/agents/{name}", get_agent, Agent),
    Route("GET", "/agents", list_agents, ListAgentsResult),
    Route("POST", "/agents", create_agent, Agent, fails=(NotFound, Conflict, RateLimited, StorageFull)),
    Route("PUT", "/agents/{name}", update_agent, Agent),
    Route("DELETE", "/agents/{name}", delete_agent),
    Route("POST", "/agents/{name}/remix", remix_agent, Agent, fails=(Conflict, RateLimited, StorageFull)),
)
