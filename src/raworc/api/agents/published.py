"""Publishing agents, and what anybody may see of those that are: without a token."""

from typing import Annotated, Final

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.render import agent_object
from raworc.api.agents.schemas import Agent
from raworc.api.agents.sharing_schemas import PublishBody
from raworc.api.auth import MayUpdate
from raworc.api.bodies import JsonBody
from raworc.api.download import list_response
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.queries import Offset, PageSize
from raworc.api.render import Json
from raworc.api.routes import Route
from raworc.errors import DatabaseUnavailable, NotFound
from raworc.services.published import Permissions


async def publish_agent(
    request: Request,
    name: str,
    caller: MayUpdate,
    body: Annotated[PublishBody, Depends(JsonBody(PublishBody))],
    once: Once,
) -> Response:
    """Show the agent to everybody and let every account remix it; done again, it changes the permissions."""
    permissions = Permissions(code=body.code, secrets=body.secrets, content=body.content)
    published = parts_of(request).published
    return await once.answer(caller, lambda keep: published.publish(caller, name, permissions, keep), agent_object)


async def unpublish_agent(request: Request, name: str, caller: MayUpdate, once: Once) -> Response:
    """Show the agent to nobody else any more; remixes that were made stay."""
    published = parts_of(request).published
    return await once.answer(caller, lambda keep: published.unpublish(caller, name, keep), agent_object)


async def list_published(
    request: Request,
    limit: Annotated[PageSize | None, Query(description="Page size, at most 100; all of them where absent")] = None,
    offset: Offset = 0,
) -> Response:
    """All published agents, or one page of them, the newest publication first."""
    published = parts_of(request).published
    if limit is not None:
        return Json([agent_object(agent) for agent in await published.page(limit=limit, offset=offset)])
    return await list_response(published.everything(offset=offset), agent_object)


async def get_published(request: Request, name: str) -> Response:
    """One published agent."""
    return Json(agent_object(await parts_of(request).published.get(name)))


_FAILS: Final = (DatabaseUnavailable,)

ROUTES: Final = (
    Route("POST", "/agents/{name}/publish", publish_agent, Agent),
    Route("POST", "/agents/{name}/unpublish", unpublish_agent, Agent),
    Route("GET", "/published/agents", list_published, list[Agent], fails=_FAILS),
    Route("GET", "/published/agents/{name}", get_published, Agent, fails=(*_FAILS, NotFound)),
)
