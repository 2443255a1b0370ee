"""Bodies: JSON, read within bounds, parsed strictly, checked against a model that names every refused field; or raw.

A JSON body may be absent or empty where the model has no required field. Text comes out storable (no NUL, no
lone surrogates), numbers finite, nesting at most 64 deep.
"""

import hashlib
import json
import math
from collections.abc import AsyncGenerator, Collection
from typing import Any, ClassVar, Final, Generic, NoReturn, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect, Request

from raworc.api import exchange
from raworc.api.parts import parts_of
from raworc.api.problems import field_errors, refused
from raworc.domain.text import storable
from raworc.errors import BadRequest, PayloadTooLarge

MAX_DEPTH: Final = 64
_MAX_LENGTH_DIGITS: Final = 18


class Body(BaseModel):
    """Base of what requests carry: exact types, unknown fields ignored.

    ``verbatim`` names fields whose text is left as it came, because another text would be no use: their rule refuses
    what cannot be stored.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, defer_build=True)
    verbatim: ClassVar[Collection[str]] = ()


M = TypeVar("M", bound=Body)


class JsonBody(Generic[M]):
    """A dependency that gives the body as ``model``.

    Raises:
        BadRequest: not JSON, not an object, or refused fields (named in ``details``).
        PayloadTooLarge: above the limit, whether or not its length was announced.
    """

    def __init__(self, model: type[M]) -> None:
        self.model = model

    async def __call__(self, request: Request) -> M:
        """The body, read and checked."""
        limit = parts_of(request).body_limit_bytes
        raw = b"".join([piece async for piece in _received(request, limit)])
        exchange.of(request.scope).body_digest = hashlib.sha256(raw).digest()
        if raw:
            _check_media_type(request.headers.get("content-type"))
        document = parse_object(raw, self.model.verbatim) if raw else {}
        try:
            return self.model.model_validate(document)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise refused(field_errors(found)) from None


class RawBody:
    """A dependency that gives the body's bytes as they come, of any type. Nothing is read before they are taken.

    Raises, while they are taken:
        BadRequest: the connection ended.
        PayloadTooLarge: above ``limit_bytes``, whether or not its length was announced.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes

    async def __call__(self, request: Request) -> AsyncGenerator[bytes]:
        """The bytes."""
        return _received(request, self._limit_bytes)


def parse_object(raw: bytes, verbatim: Collection[str] = ()) -> dict[str, Any]:
    """A JSON object from UTF-8 bytes. Its text comes out storable, but for that of the ``verbatim`` fields.

    Raises:
        BadRequest: the message says what is wrong and, for syntax, where.
    """
    try:
        value: object = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8 (at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # a whole number of thousands of digits
        raise BadRequest("The body holds a number that is too large") from None
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object")
    document = cast("dict[str, Any]", value)
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(document) > MAX_DEPTH:
        raise _too_deep()
    if b"\\u" not in raw:
        return document
    kept = {name: document.pop(name) for name in verbatim if name in document}
    return cast("dict[str, Any]", storable(document)) | kept


async def _received(request: Request, limit: int) -> AsyncGenerator[bytes]:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > _MAX_LENGTH_DIGITS or int(announced) > limit):
        raise _too_large(limit)
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            yield piece
    except ClientDisconnect:
        raise BadRequest("The connection ended before the body was complete") from None


def _check_media_type(content_type: str | None) -> None:
    media_type = (content_type or "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise BadRequest(f"The body must be sent with Content-Type 'application/json', not '{media_type[:100]}'")


def _depth(value: object) -> int:
    deepest = 0
    waiting: list[tuple[object, int]] = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        deepest = max(deepest, depth)
        if depth > MAX_DEPTH:
            break
        waiting.extend((child, depth + 1) for child in _children(item))
    return deepest


def _children(value: object) -> list[object]:
    inner = cast("dict[str, object]", value).values() if isinstance(value, dict) else cast("list[object]", value)
    return [cast("object", child) for child in inner if isinstance(child, dict | list)]


def _refuse_constant(name: str) -> NoReturn:
    raise BadRequest(f"The body is not JSON: '{name}' is not a number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise BadRequest("The body holds a number that is too large")
    return value


def _too_deep() -> BadRequest:
    return BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels")


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than {limit} bytes")
