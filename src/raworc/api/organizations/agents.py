"""Agents of the contract organizations: definitions in a namespace."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Query
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
from raworc.api.organizations import agent_schemas as schemas
from raworc.api.paging import Paged
from raworc.api.parts import parts_of
from raworc.api.queries import Switch
from raworc.api.render import Empty, Json, moment
from raworc.api.routes import Route, success_of
from raworc.domain.agents import DEFAULT_SPACE
from raworc.errors import Conflict, NotFound
from raworc.services.definitions import Definition, DefinitionFilter, DefinitionRow, Where

_Namespace = Annotated[
    str | None,
    Query(description="Where a name is looked for: without it in `default`, then in all that you may see; not for ids"),
]


@dataclass(frozen=True)
class Filters:
    """Which agents."""

    namespace: Annotated[str | None, Query(description="Those of this one only")] = None
    active: Annotated[Switch | None, Query(description="Those that are, or are not")] = None
    model: Annotated[str | None, Query(description="Those with this model")] = None


async def list_definitions(
    request: Request, caller: MayListDefinitions, filters: Annotated[Filters, Depends()], paging: Paged
) -> Response:
    """Agents of the namespaces that the caller may look into, by name.

    A bare list of at most 1000; with `page` or `limit`, one page of them.
    """
    wanted = DefinitionFilter(filters.namespace, filters.active, filters.model)
    rows, total = await parts_of(request).tenants.agents.page(caller, wanted, limit=paging.size, offset=paging.offset)
    return paging.shown([_shown(row) for row in rows], total)


async def create_definition(
    request: Request,
    caller: MayCreateDefinition,
    body: Annotated[schemas.NewDefinitionBody, Depends(JsonBody(schemas.NewDefinitionBody))],
    once: Once,
) -> Response:
    """A new agent."""
    new = _definition(body)
    definitions, namespace = parts_of(request).tenants.agents, body.namespace or DEFAULT_SPACE
    return await once.answer(caller, lambda keep: definitions.create(caller, new, namespace, keep), _shown)


async def get_definition(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayGetDefinition,
    *,
    namespace: _Namespace = None,
) -> Response:
    """One agent by its id or name."""
    return Json(_shown(await parts_of(request).tenants.agents.get(caller, Where(id, namespace))))


async def update_definition(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayUpdateDefinition,
    body: Annotated[schemas.DefinitionChangeBody, Depends(JsonBody(schemas.DefinitionChangeBody))],
    *,
    namespace: _Namespace = None,
) -> Response:
    """Change what is given."""
    change = _definition(body)
    return Json(_shown(await parts_of(request).tenants.agents.update(caller, Where(id, namespace), change)))


async def delete_definition(
    request: Request,
    id: str,  # noqa: A002  the path's word
    caller: MayDeleteDefinition,
    *,
    namespace: _Namespace = None,
) -> Response:
    """Take an agent away: its name is free, sessions that were made with it stay as they are."""
    await parts_of(request).tenants.agents.delete(caller, Where(id, namespace))
    return Empty(status_code=success_of(request))


def _definition(body: schemas.NewDefinitionBody | schemas.DefinitionChangeBody) -> Definition:
    return Definition(
        name=body.name,
        description=body.description,
        instructions=body.instructions,
        model=body.model,
        tools=body.tools,
        routes=body.routes,
        guardrails=body.guardrails,
        knowledge_bases=body.knowledge_bases,
        active=body.active if isinstance(body, schemas.DefinitionChangeBody) else None,
    )


def _shown(row: DefinitionRow) -> dict[str, Any]:
    told = {name: value for name, value in vars(row).items() if name != "space"}
    stamps = {"created_at": moment(row.created_at), "updated_at": moment(row.updated_at)}
    return {**told, "id": str(row.id), "namespace": row.space, **stamps}


_ALL: Final = "/agents"
_ONE: Final = "/agents/{id}"

ROUTES: Final = (
    Route("GET", _ALL, list_definitions, list[schemas.Definition] | schemas.DefinitionPage, fails=(NotFound,)),
    Route("POST", _ALL, create_definition, schemas.Definition, fails=(Conflict, NotFound), status=201),
    Route("GET", _ONE, get_definition, schemas.Definition),
    Route("PUT", _ONE, update_definition, schemas.Definition, fails=(Conflict,)),
    Route("DELETE", _ONE, delete_definition, status=204),
)
