"""Whatever goes wrong, the framework's own refusals included, has one body; nothing a client sends gives a 5xx."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest
from structlog.testing import capture_logs

from asking import Api, error_of
from raworc.api.app import ROUTES, create_api
from raworc.api.app import Api as Outer
from raworc.api.contracts import Contracts
from raworc.api.problems import problem
from raworc.errors import BadRequest
from raworc.metrics import Metrics
from raworc.services.accounts import Accounts
from raworc.services.tokens import Tokens
from raworc.store.database import Database

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}


async def post(api: Api, content: bytes, headers: dict[str, str] | None = None) -> httpx2.Response:
    return await api.http.post("/agents", content=content, headers=JSON if headers is None else headers)


BAD_BODIES: dict[str, bytes] = {
    "cut off": b'{"name": "demo"',
    "trailing comma": b'{"name": "demo",}',
    "single quotes": b"{'name': 'demo'}",
    "two documents": b'{"name": "demo"} {}',
    "words": b"hello",
    "a list": b'[{"name": "demo"}]',
    "a string": b'"demo"',
    "a number": b"5",
    "null": b"null",
    "true": b"true",
    "spaces only": b"   ",
    "not utf-8": b'{"name": "\xff\xfe"}',
    "utf-16": '{"name": "demo"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"name": "demo"}',
    "raw nul": b'{"name": "de\x00mo"}',
    "raw newline in a string": b'{"name": "de\nmo"}',
    "bad escape": rb'{"name": "\x41"}',
    "NaN": b'{"name": "demo", "metadata": {"a": NaN}}',
    "Infinity": b'{"name": "demo", "metadata": {"a": -Infinity}}',
    "float overflow": b'{"name": "demo", "metadata": {"a": 1e999}}',
    "endless number": b'{"name": "demo", "metadata": {"a": ' + b"9" * 10_000 + b"}}",
    "65 deep": b'{"name": "demo", "metadata": ' + b'{"a":' * 64 + b"1" + b"}" * 64 + b"}",
    "lists 65 deep": b'{"name": "demo", "metadata": {"a": ' + b"[" * 63 + b"]" * 63 + b"}}",
    "100,000 deep": b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 open": b"[" * 100_000,
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_a_body_that_is_no_sane_json_object_is_400(admin: Api, body: bytes):
    error_of(await post(admin, body), 400, "BAD_REQUEST")


async def test_64_levels_are_sane(admin: Api):
    name = f"deep-{uuid.uuid4().hex[:8]}"
    body = f'{{"name": "{name}", "metadata": '.encode() + b'{"a":' * 63 + b"1" + b"}" * 63 + b"}"

    assert (await post(admin, body)).status_code == 200
    assert (await admin.get(f"/agents/{name}")).status_code == 200


async def test_brackets_inside_strings_are_no_depth(admin: Api):
    agent = await admin.made(description="[{" * 1000, metadata={"list": [{}] * 1000})

    assert agent["description"] == "[{" * 1000


async def test_nul_and_lone_surrogates_in_texts_become_what_can_be_stored(admin: Api):
    name = f"nul-{uuid.uuid4().hex[:8]}"
    body = rb'{"name": "%s", "description": "a\u0000b\ud800c", "metadata": {"k\u0000": ["\udfff", "\ud83d\ude00"]}}'

    answer = await post(admin, body % name.encode())

    assert answer.json()["description"] == "a\ufffdb\ufffdc"
    assert answer.json()["metadata"] == {"k\ufffd": ["\ufffd", "😀"]}


async def test_numbers_come_back_as_they_were(admin: Api):
    numbers = [0, -1, 2**63, 10**30, 10**300, 0.1, -1.5e-300, 1.0]

    agent = await admin.made(metadata={"n": numbers, "float": 1e300})

    shown = (await admin.get(f"/agents/{agent['name']}")).json()
    assert shown["metadata"]["n"] == numbers
    assert float(shown["metadata"]["float"]) == 1e300


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "json",
        ";",
    ],
)
async def test_a_body_of_another_type_is_400(admin: Api, content_type: str):
    answer = await post(admin, b'{"name": "demo"}', {"content-type": content_type})

    assert "application/json" in error_of(answer, 400, "BAD_REQUEST")["message"]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"])
async def test_json_by_its_other_names_is_taken(admin: Api, content_type: str):
    name = f"type-{uuid.uuid4().hex[:8]}"
    body = json.dumps({"name": name}).encode()

    assert (await post(admin, body, {"content-type": content_type})).status_code == 200


async def test_json_without_a_content_type_is_taken(admin: Api):
    assert (await post(admin, json.dumps({"name": f"none-{uuid.uuid4().hex[:8]}"}).encode(), {})).status_code == 200


async def test_an_absent_body_lacks_what_is_required(admin: Api):
    details = error_of(await admin.http.post("/agents"), 400, "BAD_REQUEST")["error"]["details"]

    assert details == [{"field": "name", "message": "is required"}]


async def test_every_refused_field_is_named(admin: Api):
    body = {"name": 5, "tags": ["a", 5], "metadata": 1}
    details = error_of(await admin.ask("POST", "/agents", body), 400, "BAD_REQUEST")["error"]["details"]

    assert {detail["field"] for detail in details} == {"name", "tags.1", "metadata"}


async def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_413(admin: Api):
    name = f"big-{uuid.uuid4().hex[:8]}"
    head = f'{{"name": "{name}", "description": "'.encode()
    fits = head + b"x" * (1_048_576 - len(head) - 2) + b'"}'

    error_of(await post(admin, fits + b" "), 413, "PAYLOAD_TOO_LARGE")
    assert (await post(admin, fits)).status_code == 200


async def test_a_chunked_body_above_the_limit_is_413(admin: Api):
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 65_536

    answer = await admin.http.post("/agents", content=chunks(), headers=JSON)

    error_of(answer, 413, "PAYLOAD_TOO_LARGE")


async def test_an_announced_length_above_the_limit_is_413_before_a_byte_of_it(admin: Api):
    token = admin.http.headers["authorization"]
    answer = await admin.served.ask(
        f"POST /api/v0/agents HTTP/1.1\r\nhost: a\r\nauthorization: {token}\r\ncontent-length: 100000000\r\n"
        "content-type: application/json\r\nexpect: 100-continue\r\n\r\n".encode()
    )

    assert answer.status == 413


async def test_a_caller_who_hangs_up_in_the_middle_of_a_body_harms_nobody(admin: Api):
    token = admin.http.headers["authorization"]
    async with admin.served.wire() as wire:
        head = f"POST /api/v0/agents HTTP/1.1\r\nhost: a\r\nauthorization: {token}\r\ncontent-length: 100\r\n\r\n"
        await wire.send(head.encode() + b"{")

    assert (await admin.get("/auth")).status_code == 200


NOWHERE = ["/", "/nothing", "/api", "/api/v0", "/api/v0/", "/api/v1/agents", "/agents/api/v0/nothing", "/agents/demo"]
NOWHERE += [
    "/api/v0/agents/",
    "/api/v0/version/",
    "/docs",
    "/openapi.json",
    "/api/v0//agents",
    "/agents/agents/api/v0/auth",
]


@pytest.mark.parametrize("path", NOWHERE)
async def test_an_unknown_path_is_404(nobody: Api, path: str):
    error_of(await nobody.http.get(nobody.served.url + path), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", "/agents", "GET, POST"),
        ("DELETE", "/agents", "GET, POST"),
        ("POST", "/agents/demo", "DELETE, GET, PUT"),
        ("GET", "/agents/demo/state", "PUT"),
        ("PUT", "/agents/demo/responses/count", "GET, PUT"),
        ("GET", "/auth/login", "POST"),
        ("POST", "/version", "GET"),
        ("OPTIONS", "/version", "GET"),
        ("HEAD", "/agents", "GET, POST"),
    ],
)
async def test_a_method_that_is_not_there_is_405_with_all_that_are(nobody: Api, method: str, path: str, allow: str):
    answer = await nobody.http.request(method, path)

    if method == "PUT":  # `count` is a response's id for every other method
        error_of(answer, 401, "UNAUTHORIZED")
        return
    assert answer.headers["allow"] == allow
    if method == "HEAD":
        assert answer.status_code == 405
    else:
        error_of(answer, 405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("path", ["/version%00", "/agents/a%00b", "/agents?q=a%00b", "/agents/demo/files/read/a%00b"])
async def test_a_nul_in_an_address_is_400(admin: Api, path: str):
    url = httpx2.URL(admin.served.url + "/agents/api/v0" + path)

    error_of(await admin.http.get(url), 400, "BAD_REQUEST")


async def test_a_caller_may_ask_for_rfc_9457(admin: Api):
    answer = await admin.http.get("/agents/nosuch", headers={"accept": "application/problem+json"})

    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["status"] == 404
    assert body["title"] == "Not Found"
    assert body["type"] == "about:blank"
    assert body["detail"] == body["message"] == "Agent 'nosuch' not found"
    assert body["error"]["code"] == "NOT_FOUND"


async def test_a_sane_request_id_is_echoed_and_another_one_is_replaced(nobody: Api):
    sane = await nobody.http.get("/nothing", headers={"x-request-id": "trace-1.a_b:c"})
    absent = await nobody.http.get("/nothing")
    wild = await nobody.http.get("/nothing", headers={"x-request-id": 'a b"<script>'})
    long = await nobody.http.get("/nothing", headers={"x-request-id": "a" * 129})

    assert error_of(sane, 404, "NOT_FOUND")["request_id"] == "trace-1.a_b:c"
    for answer in (absent, wild, long):
        assert uuid.UUID(error_of(answer, 404, "NOT_FOUND")["request_id"])


async def test_no_cross_origin_header_is_ever_sent(nobody: Api):
    answer = await nobody.http.get("/version", headers={"origin": "https://evil.example"})

    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_request_is_logged_by_its_route_without_token_or_body(admin: Api):
    with capture_logs() as logs:
        await admin.made(description="canary-body")
        await admin.get("/agents/canary-name")

    lines = [line for line in logs if line["event"] == "request"]
    assert [(line["method"], line["path"], line["status"], line["account"]) for line in lines] == [
        ("POST", "/api/v0/agents", 200, "admin"),
        ("GET", "/api/v0/agents/{name}", 404, "admin"),
    ]
    assert all(line["request_id"] and line["ms"] > 0 for line in lines)
    assert "canary" not in str(logs)
    assert admin.http.headers["authorization"].removeprefix("Bearer ") not in str(logs)


# ── what callers cannot bring about ──────────────────────────────────────────────────────────────────
COUNTING = SimpleNamespace(metrics=Metrics())
NO_ACCOUNTS = SimpleNamespace(contract_of=lambda _: None)
NO_CONTRACTS = Contracts((), "agents", lambda _: None)


async def broken(*_scope_receive_send: object) -> None:
    raise RuntimeError("canary-7d1f: password=hunter2")


@pytest.mark.parametrize(
    "app",
    [
        Outer(broken, Metrics(), NO_CONTRACTS),
        create_api(
            cast("Any", SimpleNamespace(ready=broken, telemetry=COUNTING, contract="agents", accounts=NO_ACCOUNTS))
        ),
    ],
)
async def test_a_defect_is_500_without_its_details_and_logged_without_its_message(app: Outer):
    transport = httpx2.ASGITransport(app=app)
    with capture_logs() as logs:
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
            answer = await http.get("/readyz")

    said = error_of(answer, 500, "INTERNAL_SERVER_ERROR")
    failed = next(line for line in logs if line["event"] == "request failed")
    assert failed["request_id"] == said["request_id"]
    assert failed["error"] == "RuntimeError"
    assert any("broken" in frame for frame in failed["at"])
    assert "canary" not in str(logs) + answer.text


async def test_while_the_database_is_away_it_is_503_with_retry_after():
    db, tokens = Database("postgresql://127.0.0.1:1/nothing", pool_size=1), Tokens(b"k" * 32)
    token, _ = tokens.login(uuid.uuid4(), 1, "agents", ttl_s=60)

    async def ready() -> None:
        async with db.reading():
            pass

    parts = SimpleNamespace(accounts=Accounts(db, tokens), ready=ready, telemetry=COUNTING, contract="agents")
    transport = httpx2.ASGITransport(app=create_api(cast("Any", parts)))
    headers = {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http:
        for path in ("/api/v0/agents", "/api/v0/auth", "/api/v0/health", "/readyz"):
            answer = await http.get(path)
            error_of(answer, 503, "SERVICE_UNAVAILABLE")
            assert int(answer.headers["retry-after"]) > 0
        assert (await http.get("/livez")).status_code == 200
    await db.close()


def test_a_message_of_any_text_can_be_said():
    answer = problem(BadRequest('ü \x00 "\n'), request_id="r")

    assert json.loads(answer.body)["message"] == 'ü \x00 "\n'


# ── many odd requests at every route ─────────────────────────────────────────────────────────────────
ODD_BODIES: list[Any] = [
    None,
    {},
    [],
    {"input": None},
    {"status": []},
    {"input": {"content": [{}]}},
    {"state": {}},
    {"x": "\x00"},
]


WAITING = {"/agents/{name}/context/compact"}
"""Answered by an operator, and none runs here: see tests/api/test_real_work.py."""


@pytest.mark.parametrize(
    "route", [r for r in ROUTES if r.path not in WAITING], ids=lambda route: f"{route.method} {route.path}"
)
async def test_odd_input_at_every_route_is_never_a_5xx(admin: Api, route: Any):
    agent = (await admin.made())["name"]
    given = {"name": agent, "response_id": str(uuid.uuid4()), "path:file": "%2e%2e/x"}
    path = route.full_path
    for parameter, value in given.items():
        path = path.replace(f"{{{parameter}}}", value)
    if path.endswith("/events") and "responses" not in path:
        path += "?x=1"

    for body in ODD_BODIES:
        for query in ("", "?limit=x&offset=-1&page=0&state=?&tags=%ff&q=%ed%a0%80&per_page=x"):
            url = httpx2.URL(admin.served.url + path + query)
            async with admin.http.stream(
                route.method, url, json=body, headers={"last-event-id": "x" if query else ""}
            ) as answer:
                assert answer.status_code < 500, (path, query, body, await asyncio.wait_for(answer.aread(), 60))


IN_JSON_S_WORDS = [
    ("/agents", {}, "name", "is required"),
    ("/agents", {"name": None}, "name", "must be a text"),
    ("/agents", {"name": "ab", "metadata": []}, "metadata", "must be an object"),
    ("/agents", {"name": "ab", "tags": {}}, "tags", "must be a list"),
    ("/agents", {"name": "ab", "limits": 5}, "limits", "must be an object"),
    ("/agents", {"name": "ab", "limits": {"cpus": "1"}}, "limits.cpus", "must be a number"),
    ("/agents", {"name": "ab", "idle_timeout_seconds": "5"}, "idle_timeout_seconds", "must be a whole number"),
    ("/agents", {"name": "ab", "idle_timeout_seconds": 1.5}, "idle_timeout_seconds", "must be a whole number"),
    ("/agents/x/publish", {"code": "yes"}, "code", "must be true or false"),
    ("/agents/x/responses", {"input": {}, "when_busy": ""}, "when_busy", "must be 'queue', 'reject' or 'interrupt'"),
]


@pytest.mark.parametrize(("path", "body", "field", "message"), IN_JSON_S_WORDS)
async def test_what_is_wrong_with_a_field_is_said_in_the_words_of_json(
    admin: Api, path: str, body: object, field: str, message: str
):
    error = error_of(await admin.ask("POST", path, body), 400, "BAD_REQUEST")["error"]

    assert error["details"] == [{"field": field, "message": message}]
    assert error["message"] == f"'{field}': {message}"
