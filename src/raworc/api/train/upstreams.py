"""Upstreams: the providers' accounts that model calls go to."""

from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import (
    MayCreateUpstream,
    MayDeleteUpstream,
    MayGetUpstream,
    MayListUpstreams,
    MayUpdateUpstream,
)
from raworc.api.bodies import JsonBody
from raworc.api.parts import parts_of
from raworc.api.render import Json, moment
from raworc.api.routes import Route
from raworc.api.train.upstream_schemas import (
    NewUpstreamBody,
    OAuthBody,
    OAuthError,
    Upstream,
    UpstreamChangeBody,
    UpstreamDeleted,
)
from raworc.domain.credentials import ApiKey, Credential, OAuth, RenewalFailed
from raworc.domain.text import storable_text
from raworc.errors import Conflict, NotFound
from raworc.services.upstream_uses import KINDS, Use
from raworc.services.upstreams import Fields, Found

_RENAMED: Final = {"default": "is_default"}


async def list_upstreams(request: Request, caller: MayListUpstreams) -> Response:
    """Upstreams that serve a space in which the caller may list them, by name; those from the environment, too."""
    return Json([_shown(found) for found in await parts_of(request).upstreams.every(caller)])


async def create_upstream(
    request: Request, caller: MayCreateUpstream, body: Annotated[NewUpstreamBody, Depends(JsonBody(NewUpstreamBody))]
) -> Response:
    """A new upstream. Within a second every server calls it for those whom it serves."""
    return Json(_shown(await parts_of(request).upstreams.create(caller, _fields(body))), status=201)


async def get_upstream(request: Request, upstream: str, caller: MayGetUpstream) -> Response:
    """One upstream, by its id or name."""
    return Json(_shown(await parts_of(request).upstreams.get(caller, upstream)))


async def update_upstream(
    request: Request,
    upstream: str,
    caller: MayUpdateUpstream,
    body: Annotated[UpstreamChangeBody, Depends(JsonBody(UpstreamChangeBody))],
) -> Response:
    """Change what is given. Calls that run are not disturbed."""
    return Json(_shown(await parts_of(request).upstreams.update(caller, upstream, _fields(body))))


async def delete_upstream(request: Request, upstream: str, caller: MayDeleteUpstream) -> Response:
    """Take an upstream away. Calls that run end as they would have."""
    await parts_of(request).upstreams.delete(caller, upstream)
    return Json({"deleted": True})


async def refresh_upstream(request: Request, upstream: str, caller: MayUpdateUpstream) -> Response:
    """Renew an upstream's OAuth tokens now.

    Where the token endpoint gives none: `{"error", "error_description"}`, with 400 or, while it may still, 503.
    """
    try:
        return Json(_shown(await parts_of(request).upstreams.refresh(caller, upstream)))
    except RenewalFailed as failed:
        told = {"error": failed.error, "error_description": failed.description}
        return Json(told, status=400 if failed.is_final else 503)


def _fields(body: UpstreamChangeBody) -> Fields:
    given = frozenset(_RENAMED.get(name, name) for name in body.model_fields_set)
    return Fields(
        name=body.name,
        provider=body.provider,
        base_url=body.base_url,
        credential=_credential(body.credential),
        models=tuple(body.models or ()),
        spaces=None if body.spaces is None else tuple(storable_text(space) for space in body.spaces),
        is_default=body.default,
        given=given,
    )


def _credential(given: str | OAuthBody | None) -> Credential | None:
    match given:
        case None:
            return None
        case str():
            return ApiKey(given)
        case OAuthBody():
            return OAuth(**given.model_dump())


def _shown(found: Found) -> dict[str, Any]:
    if isinstance(found, Use):
        offer, credential = found.offer, found.credential
        own = {"id": found.id, "credential": KINDS[type(credential)] if credential else None, "source": "environment"}
        none = dict.fromkeys(("expires_at", "spaces", "created_at", "updated_at"))
        return {
            **_what(offer.name, offer.provider, found.base_url, list(offer.models)),
            **own,
            **none,
            "default": offer.is_default,
        }
    return {
        **_what(found.name, found.provider, found.base_url, found.models),
        "id": str(found.id),
        "credential": found.credential_kind,
        "expires_at": moment(found.expires_at),
        "spaces": found.spaces,
        "default": found.is_default,
        "source": "stored",
        "created_at": moment(found.created_at),
        "updated_at": moment(found.updated_at),
    }


def _what(name: str, provider: str, base_url: str, models: list[str]) -> dict[str, Any]:
    return {"name": name, "provider": provider, "base_url": base_url, "models": models}


ROUTES: Final = (
    Route("GET", "/api/upstreams", list_upstreams, list[Upstream], is_root=True),
    Route("POST", "/api/upstreams", create_upstream, Upstream, (Conflict,), is_root=True, status=201),
    Route("GET", "/api/upstreams/{upstream}", get_upstream, Upstream, (NotFound,), is_root=True),
    Route("PUT", "/api/upstreams/{upstream}", update_upstream, Upstream, (NotFound, Conflict), is_root=True),
    Route(
        "POST",
        "/api/upstreams/{upstream}/refresh",
        refresh_upstream,
        Upstream,
        (NotFound, Conflict),
        is_root=True,
        refusal=OAuthError,
    ),
    Route("DELETE", "/api/upstreams/{upstream}", delete_upstream, UpstreamDeleted, (NotFound, Conflict), is_root=True),
)
