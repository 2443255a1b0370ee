"""An agent's context: how full it is; clear, compact, restore."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.render import context_usage
from raworc.api.agents.schemas import AgentContextUsage
from raworc.api.auth import MayGet, MayUpdate
from raworc.api.connection import while_connected
from raworc.api.parts import parts_of
from raworc.api.render import Json
from raworc.api.routes import Route
from raworc.errors import Conflict, GatewayTimeout, RateLimited, StorageFull


async def get_context(request: Request, name: str, caller: MayGet) -> Response:
    """How much was said since the cutoff, and how much of the context that takes."""
    return Json(context_usage(await parts_of(request).context.usage(caller, name)))


async def clear_context(request: Request, name: str, caller: MayUpdate) -> Response:
    """Forget what was said until now; the responses stay readable."""
    return Json(context_usage(await parts_of(request).context.clear(caller, name)))


async def compact_context(request: Request, name: str, caller: MayUpdate) -> Response:
    """Let a summary stand for what was said until now. The answer comes when the model has made it."""
    parts = parts_of(request)
    compacting = parts.context.compact(caller, name, parts.blocking_timeout_s)
    return Json(context_usage(await while_connected(request, compacting)))


async def restore_context(request: Request, name: str, caller: MayUpdate) -> Response:
    """Take the newest cutoff back, by a clear or a compaction: what it cut off counts again."""
    return Json(context_usage(await parts_of(request).context.restore(caller, name)))


_COMPACTING_FAILS: Final = (Conflict, RateLimited, StorageFull, GatewayTimeout)

ROUTES: Final = (
    Route("GET", "/agents/{name}/context", get_context, AgentContextUsage),
    Route("POST", "/agents/{name}/context/clear", clear_context, AgentContextUsage),
    Route("POST", "/agents/{name}/context/compact", compact_context, AgentContextUsage, fails=_COMPACTING_FAILS),
    Route("POST", "/agents/{name}/context/restore", restore_context, AgentContextUsage, fails=(Conflict,)),
)
