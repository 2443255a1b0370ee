"""The one error body, and the only place that turns an error into an answer.

``{"message", "error": {"code", "type", "message", "details"?}, "request_id", "timestamp"}``; a caller that
accepts ``application/problem+json`` also gets the members of RFC 9457.
"""

import http
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from raworc.clock import now, rfc3339
from raworc.domain.text import storable_text
from raworc.errors import (
    BadRequest,
    FieldError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RaworcError,
    Unauthorized,
)

JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"
_CHALLENGE: Final = 'Bearer realm="raworc"'
_INTERNAL: Final = "Something went wrong on the server; the log tells more under this request id"
_DETAIL_LIMIT: Final = 50
_SENTENCES: Final = {
    "missing": "is required",
    "string_type": "must be a text",
    "string_unicode": "must be a text without halves of characters",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
}
"""What Pydantic says in Python's words, in those of JSON."""
_OPENING: Final = re.compile("^(Input|String|List|Dictionary) should ")
_ACCEPTS_PROBLEM: Final = re.compile(r"application/problem\+json", re.IGNORECASE)


def internal_error() -> RaworcError:
    """What a caller learns of a defect of ours: nothing but the request id."""
    return RaworcError(_INTERNAL)


def problem_body(error: RaworcError, *, request_id: str, is_rfc9457: bool = False) -> bytes:
    """The error body as JSON."""
    inner: dict[str, object] = {"code": error.code, "type": error.code.lower(), "message": error.message}
    if error.details:
        inner["details"] = [{"field": detail.field, "message": detail.message} for detail in error.details]
    body: dict[str, object] = {
        "message": error.message,
        "error": inner,
        "request_id": request_id,
        "timestamp": rfc3339(now()),
    }
    if is_rfc9457:
        title = http.HTTPStatus(error.status).phrase
        body |= {"type": "about:blank", "title": title, "status": error.status, "detail": error.message}
    return msgspec.json.encode(body)


def problem(error: RaworcError, *, request_id: str, accept: str = "") -> Response:
    """The answer for an error. ``accept`` is the request's header."""
    headers = dict(error.headers)
    if isinstance(error, Unauthorized):
        headers.setdefault("WWW-Authenticate", _CHALLENGE)
    is_rfc9457 = _ACCEPTS_PROBLEM.search(accept) is not None
    return Response(
        problem_body(error, request_id=request_id, is_rfc9457=is_rfc9457),
        status_code=error.status,
        headers=headers,
        media_type=PROBLEM_JSON if is_rfc9457 else JSON,
    )


def raw_problem(error: RaworcError, *, request_id: str, accept: str = "") -> bytes:
    """A whole HTTP/1.1 answer that closes the connection, for requests that never became one."""
    is_rfc9457 = _ACCEPTS_PROBLEM.search(accept) is not None
    media_type = PROBLEM_JSON if is_rfc9457 else JSON
    body = problem_body(error, request_id=request_id, is_rfc9457=is_rfc9457)
    head = (
        f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\n"
        f"content-type: {media_type}\r\ncontent-length: {len(body)}\r\nx-request-id: {request_id}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def field_errors(errors: Sequence[Mapping[str, Any]], *, skip: int = 0) -> tuple[FieldError, ...]:
    """Pydantic's findings as field errors; ``skip`` leading parts of each path are left out."""
    found = errors[:_DETAIL_LIMIT]
    return tuple(FieldError(_named(e["loc"][skip:]), _sentence(e)) for e in found)


def refused(details: tuple[FieldError, ...]) -> BadRequest:
    """Bad input whose message already says what the first field lacks."""
    if not details:
        return BadRequest("The request is not valid")
    first = details[0]
    return BadRequest(f"'{first.field}': {first.message}" if first.field else first.message, details=details)


def from_framework(error: HTTPException, *, method: str, path: str, allow: Sequence[str]) -> RaworcError:
    """FastAPI's and Starlette's own errors as ours."""
    match error.status_code:
        case http.HTTPStatus.NOT_FOUND:
            return NotFound(f"Nothing is served at '{_short(path)}': see /api-docs/openapi.json")
        case http.HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(sorted(allow))
            message = f"'{_short(path)}' does not take {method}; it takes {allowed}"
            return MethodNotAllowed(message, headers={"Allow": allowed})
        case http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return PayloadTooLarge("The request body is too large")
        case status if status < http.HTTPStatus.INTERNAL_SERVER_ERROR:
            return BadRequest(str(error.detail))
        case _:
            return internal_error()


def from_validation(error: RequestValidationError) -> BadRequest:
    """Parameters that FastAPI refused: ``details`` names them without the place they came from."""
    return refused(field_errors(error.errors(), skip=1))


def _named(location: Sequence[object]) -> str:
    return storable_text(".".join(str(part) for part in location))


def _sentence(error: Mapping[str, Any]) -> str:
    message = str(error["msg"])
    return _SENTENCES.get(error["type"]) or _OPENING.sub("must ", message.removeprefix("Value error, "))


def _short(path: str) -> str:
    return path if len(path) <= 200 else path[:200] + "..."  # noqa: PLR2004  enough to recognise it
