"""Builds of a space: the making of its agents from their repositories."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from raworc.api.auth import MayCreateBuild, MayGetBuild
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.render import Json, moment
from raworc.api.routes import Route
from raworc.api.spaces.agent_schemas import Build
from raworc.domain.builds import BUILD_PREFIX
from raworc.services.builds import BuildRow


async def start_build(request: Request, name: str, caller: MayCreateBuild, once: Once) -> Response:
    """Have the space built. While a build waits that has not begun, that one is answered."""
    builds = parts_of(request).tenants.builds
    return await once.answer(caller, lambda keep: builds.start(caller, name, keep), _build)


async def get_latest_build(request: Request, name: str, caller: MayGetBuild) -> Response:
    """The build that was asked for last."""
    return Json(_build(await parts_of(request).tenants.builds.latest(caller, name)))


async def get_build(request: Request, name: str, build_id: str, caller: MayGetBuild) -> Response:
    """One build, while it is among the space's newest 20 or is the newest one that completed."""
    return Json(_build(await parts_of(request).tenants.builds.get(caller, name, build_id)))


def _build(row: BuildRow) -> dict[str, Any]:
    return {
        "id": f"{BUILD_PREFIX}{row.id}",
        "status": row.status,
        "started_at": moment(row.started_at),
        "completed_at": moment(row.finished_at),
        "logs": row.log,
    }


_ALL: Final = "/spaces/{name}/build"

ROUTES: Final = (
    Route("POST", _ALL, start_build, Build),
    Route("GET", f"{_ALL}/latest", get_latest_build, Build),
    Route("GET", f"{_ALL}/{{build_id}}", get_build, Build),
)
