"""``Idempotency-Key``: a POST that may be sent twice and is done once. A handler uses it by ``once: Once``."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Header
from starlette.requests import Request
from starlette.responses import Response

from raworc.api import exchange
from raworc.api.parts import parts_of
from raworc.api.problems import JSON, refused
from raworc.api.render import encode
from raworc.api.routes import success_of
from raworc.errors import FieldError
from raworc.services.accounts import Caller
from raworc.services.answers import Answered, Asked, Keep, unkept

T = TypeVar("T")

HEADER: Final = "Idempotency-Key"
_REPLAYED: Final = {"Idempotent-Replayed": "true"}
_SANE: Final = re.compile(r"[\x20-\x7e]{1,255}")
_Given = Annotated[
    str | None, Header(alias=HEADER, description="Asked again under the same key within 24 hours, this is done once")
]


@dataclass(frozen=True)
class Repeatable:
    """One request, which may be one of several with its key."""

    request: Request
    key: str | None

    async def answer(
        self, caller: Caller, work: Callable[[Keep[T]], Awaitable[T]], shown: Callable[[T], object]
    ) -> Response:
        """What ``work`` did, shown as JSON with the route's status; the same again where it was done before."""
        answer = replayed(await self.answered(caller, work, shown))
        answer.status_code = success_of(self.request)
        return answer

    async def answered(
        self, caller: Caller, work: Callable[[Keep[T]], Awaitable[T]], shown: Callable[[T], object]
    ) -> Answered:
        """The same as bytes."""
        if self.key is None:
            return Answered(encode(shown(await work(unkept))), is_replay=False)
        scope = self.request.scope
        path = scope["path"].encode("utf-8", "surrogatepass")
        whose = str(caller.agent_id or "").encode()  # an agent's own token is not told what its maker was answered
        request = b"\n".join((scope["method"].encode(), path, exchange.of(scope).body_digest, whose))
        asked = Asked(caller.account_id, self.key, request)
        return await parts_of(self.request).answers.once(asked, work, lambda result: encode(shown(result)))


def replayed(answered: Answered, body: bytes | None = None) -> Response:
    """The answer, saying whether it was given before. ``body`` takes its place where it has grown since."""
    headers = _REPLAYED if answered.is_replay else None
    return Response(answered.body if body is None else body, headers=headers, media_type=JSON)


class Keyed:
    """The dependency behind :data:`Once`.

    Raises:
        BadRequest: a key that is empty, longer than 255 characters or not printable ASCII.
    """

    async def __call__(self, request: Request, key: _Given = None) -> Repeatable:
        """This request and its key."""
        if key is not None and not _SANE.fullmatch(key):
            raise refused((FieldError(HEADER, "must be 1 to 255 printable ASCII characters"),))
        return Repeatable(request, key)


Once = Annotated[Repeatable, Depends(Keyed())]
