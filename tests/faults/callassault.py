"""Malformed model calls over raw sockets: what is wrong with each is in what it says, not only in how it is framed."""

import random
from collections.abc import Callable

import msgspec

from faults import assault
from faults.assault import Assault, Make

_BODY = b'{"model":"m","max_tokens":5,"stream":true,"messages":[{"role":"user","content":"hi"}]}'
_VALUES = (None, True, -1, 1e308, 10**30, "", "\0", "\ud800", [], {}, [[]], {"a": {}}, "x" * 5000, ["m"], {"$": 1})
_FIELDS = ("model", "stream", "messages", "system", "tools", "metadata", "max_tokens", "input", "unknown")
_ENCODED = (
    b"\xef\xbb\xbf" + _BODY,
    _BODY.decode().encode("utf-16"),
    _BODY.replace(b"hi", b"\xff\xfe\x80"),
    _BODY.replace(b"hi", b"\\ud800\\u0000"),
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"model":"m","model":["n"],"messages":' + b"[" * 3000 + b"]" * 3000 + b"}",
    b"null",
    b'"text"',
    b"NaN",
    b"--boundary\r\ncontent-disposition: form-data\r\n\r\nx\r\n--boundary--",
    b"model=m&stream=true",
    b"\x1f\x8b\x08\x00garbage",
    b"0" * 1_000_000,
)
_TARGETS = (
    b"POST /v1",
    b"POST /v1/",
    b"POST /v1//messages",
    b"POST /v1/messages/",
    b"POST /v1/messages/../../api/keys",
    b"POST /v1/%2e%2e/api/keys",
    b"POST /v1/messages%00",
    b"POST /v1/messages?%00%ff&a=\xc3\xa9",
    b"POST /v1/messages?" + b"q" * 30_000,
    b"POST /v1/\xc3\xa9\xff",
    b"POST http://elsewhere.example/v1/messages",
    b"POST //elsewhere.example/v1/messages",
    b"POST /v1/messages#fragment",
    b"POST *",
    b"CONNECT elsewhere.example:443",
    b"GET /v1/messages",
    b"DELETE /v1/models",
    b"PATCH /v1/messages",
    b"TRACE /v1/messages",
    b"OPTIONS /v1/messages",
    b"HEAD /v1/messages",
    b"GET /v1/models/",
    b"GET /v1/models/" + b"m" * 20_000,
    b"GET /v1/models/..%2f..%2fapi",
    b"GET /v1/files?limit=%zz",
)
_HEADERS = (
    b"Authorization: Bearer",
    b"Authorization: Basic Og==",
    b"Authorization: Bearer rwk_" + b"0" * 48,
    b"Authorization: Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJyYXdvcmMifQ.",
    b"Authorization: Bearer a.b.c",
    b"Authorization: Bearer \xff\xfe",
    b"x-api-key: \xe9\xe9",
    b"x-api-key: " + b"k" * 30_000,
    b"MSL-Train-Id: a b",
    b"MSL-Train-Id: " + b"t" * 256,
    b"MSL-Train-Id: \xff",
    b"MSL-Account: nobody\xff",
    b"x-raworc-request-id: 1",
    b"Connection: authorization, content-length, host",
    b"Connection: \xff,,;",
    b"Content-Encoding: gzip",
    b"Content-Encoding: br, zstd, none",
    b"Content-Type: \xff/\xff; charset=none",
    b"Accept: text/event-stream;q=z",
    b"Accept-Encoding: \xff",
    b"TE: trailers, deflate;q=0.5",
    b"Trailer: content-length",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x",
    b"Host: elsewhere.example",
    b"Host:",
    b"X-Forwarded-For: 1.2.3.4, \xff",
    b"x-claude-code-session-id: \xff" + b"s" * 5000,
    b"anthropic-beta: " + b"b," * 5000,
    b"x-fold: a\r\n folded: b",
    b"x:\t \t",
    b"bad name: x",
    b": empty",
)


def call_kinds() -> tuple[Make, ...]:
    """Makers of one assault each, for ``assault.assaults``."""
    return (*_OWN, *_OWN, *assault.FRAMED)


def _call(body: bytes, token: str, *, target: bytes = b"POST /v1/messages", extra: bytes = b"") -> bytes:
    head = b"%b HTTP/1.1\r\nHost: a\r\nx-api-key: %b\r\nContent-Type: application/json\r\n" % (target, token.encode())
    return head + extra + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _typed(rng: random.Random, token: str) -> Assault:
    request = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    for field in rng.sample(_FIELDS, rng.randint(1, 3)):
        request[field] = rng.choice(_VALUES)
    text = msgspec.json.encode({**request, "x": "hi"}) if "\ud800" not in request.values() else _BODY
    return Assault("wrong types", [_call(text, token, target=_path(rng))])


def _cut_body(rng: random.Random, token: str) -> Assault:
    body = bytearray(_BODY)
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(body))
        body[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
    return Assault("mutated body", [_call(bytes(body), token, target=_path(rng))])


def _encoded(rng: random.Random, token: str) -> Assault:
    return Assault("no JSON", [_call(rng.choice(_ENCODED), token, target=_path(rng))])


def _targeted(rng: random.Random, token: str) -> Assault:
    return Assault("odd target", [_call(rng.choice((b"", _BODY)), token, target=rng.choice(_TARGETS))])


def _headed(rng: random.Random, token: str) -> Assault:
    extra = b"".join(header + b"\r\n" for header in rng.sample(_HEADERS, rng.randint(1, 4)))
    return Assault("odd headers", [_call(_BODY, token, extra=extra)])


def _left(rng: random.Random, token: str) -> Assault:
    """A client that goes while it is answered, or before."""
    calls = b"".join(_call(_BODY, token) for _ in range(rng.randint(1, 20)))
    return Assault("gone", [calls], pause_s=rng.choice((0.0, 0.01)), ending=rng.choice(("reset", "half-close")))


def _path(rng: random.Random) -> bytes:
    return b"POST " + rng.choice((b"/v1/messages", b"/v1/messages/count_tokens", b"/v1/chat/completions", b"/v1/files"))


_OWN: tuple[Callable[[random.Random, str], Assault], ...] = (_typed, _cut_body, _encoded, _targeted, _headed, _left)
