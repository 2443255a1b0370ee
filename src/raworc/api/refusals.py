"""What the HTTP edge itself answers, as bytes, when a request never became one: in the shape its path calls for."""

import http
import uuid
from typing import Final

import msgspec

from raworc.api.problems import raw_problem
from raworc.domain.wires import wire_of
from raworc.errors import RaworcError
from raworc.wire.errors import ID_HEADERS, error_on

_MODEL_CALLS: Final = b"/v1/"


def refusal(error: RaworcError, target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """A whole answer that closes the connection. ``target`` and ``headers`` are as much as was read of the request."""
    if target.startswith(_MODEL_CALLS):
        return _model_error(error, target, headers)
    accept = next((value.decode("latin-1") for name, value in headers if name == b"accept"), "")
    return raw_problem(error, request_id=str(uuid.uuid4()), accept=accept)


def _model_error(error: RaworcError, target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    wire = wire_of(target.partition(b"?")[0].decode("latin-1"), dict(headers))
    request_id = f"req_{uuid.uuid4().hex}"
    body = msgspec.json.encode(error_on(wire, error.status, error.message, request_id=request_id))
    head = (
        f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{ID_HEADERS[wire].decode()}: {request_id}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
