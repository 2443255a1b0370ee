"""An agent's context: how full it is; clear, compact, restore."""

import uuid
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.render import context_usage
from raworc.api.agents.responses import turn_id
from raworc.api.agents.schemas import AgentContextUsage
from raworc.api.auth import MayGet, MayUpdate
from raworc.api.connection import while_connected
from raworc.api.once import Once, replayed
from raworc.api.parts import parts_of
from raworc.api.render import Json, encode
from raworc.api.routes import Route
from raworc.errors import Conflict, GatewayTimeout, RateLimited, StorageFull


async def get_context(request: Request, name: str, caller: MayGet) -> Response:
    """How much was said since the cutoff, and how much of the context that takes."""
    return Json(context_usage(await parts_of(request).context.usage(caller, name)))


async def clear_context(request: Request, name: str, caller: MayUpdate, once: Once) -> Response:
    """Forget what was said until now; the responses stay readable."""
    context = parts_of(request).context
    return await once.answer(caller, lambda keep: context.clear(caller, name, keep), context_usage)


async def compact_context(request: Request, name: str, caller: MayUpdate, once: Once) -> Response:
    """Let a summary stand for what was said until now. The answer comes when the model has made it."""
    parts = parts_of(request)
    begun = await once.answered(caller, lambda keep: parts.context.begin_compaction(caller, name, keep), _named)
    compacting = parts.context.compacted(caller, name, turn_id(begun.id), parts.blocking_timeout_s)
    return replayed(begun, encode(context_usage(await while_connected(request, compacting))))


async def restore_context(request: Request, name: str, caller: MayUpdate, once: Once) -> Response:
    """Take the newest cutoff back, by a clear or a compaction: what it cut off counts again."""
    context = parts_of(request).context
    return await once.answer(caller, lambda keep: context.restore(caller, name, keep), context_usage)


def _named(turn: uuid.UUID) -> dict[str, str]:
    return {"id": str(turn)}


_COMPACTING_FAILS: Final = (Conflict, RateLimited, StorageFull, GatewayTimeout)

ROUTES: Final = (
    Route("GET", "/agents/{name}/context", get_context, AgentContextUsage),
    Route("POST", "/agents/{name}/context/clear", clear_context, AgentContextUsage),
    Route("POST", "/agents/{name}/context/compact", compact_context, AgentContextUsage, fails=_COMPACTING_FAILS),
    Route("POST", "/agents/{name}/context/restore", restore_context, AgentContextUsage, fails=(Conflict,)),
)
