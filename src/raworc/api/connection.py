"""Work that is worth doing only while somebody waits for its answer."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from anyio.abc import TaskGroup
from starlette.requests import Request
from starlette.types import Receive

from raworc.errors import BadRequest, Unavailable
from raworc.wire.peer import SCOPE_KEY, Peer

T = TypeVar("T")


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is given up when the caller hangs up or the server stops.

    The request's body must have been read.

    Raises:
        BadRequest: the caller is gone; nobody will read this answer.
        Unavailable: the server stops; asking another one, or again, is right.
    """
    peer = cast("Peer | None", request.scope.get(SCOPE_KEY))
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_until_gone(request.receive))
    stopping = asyncio.ensure_future(peer.closing.wait() if peer else asyncio.Event().wait())
    ends = (working, gone, stopping)
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if gone.done():
            raise BadRequest("The connection ended before the answer was there")
        raise Unavailable("The server is stopping; what was begun goes on", headers={"Retry-After": "1"})
    finally:
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)


async def cancel_when_gone(tasks: TaskGroup, receive: Receive) -> None:
    """Cancel ``tasks`` when the caller hangs up."""
    await _until_gone(receive)
    tasks.cancel_scope.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
