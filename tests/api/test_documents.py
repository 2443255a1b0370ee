"""The OpenAPI document is served, and live answers are what it says, field by field."""

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from asking import Api, error_of
from raworc.api.app import DOCUMENTS, ROUTES
from raworc.api.documents import PATHS, add_documents
from raworc.services.progress import ResponseChanged, SegmentAdded, StateChanged
from raworc.settings import Settings
from raworc.store.database import Database
from works import Works
from workspaces import make, place

pytestmark = pytest.mark.anyio

ANSWERS = {
    (route.method, route.path): TypeAdapter[Any](route.answer)
    for route in (*ROUTES, *DOCUMENTS["agents"])
    if route.answer is not None
}


@pytest.mark.parametrize("path", ["/api-docs/openapi.json", "/api-docs/agents/openapi.json"])
async def test_the_document_is_public_and_complete(nobody: Api, path: str):
    answer = await nobody.http.get(nobody.served.url + path)

    document = answer.json()
    assert answer.status_code == 200
    assert document["openapi"].startswith("3.1")
    served = {(route.method.lower(), route.full_path.replace(":file}", "}")) for route in DOCUMENTS["agents"]}
    assert {(method, path) for path, methods in document["paths"].items() for method in methods} == served


@pytest.mark.parametrize("contract", DOCUMENTS)
async def test_operations_are_grouped_by_their_noun(nobody: Api, contract: str):
    document = (await nobody.http.get(f"{nobody.served.url}/api-docs/{contract}/openapi.json")).json()

    groups = {path: operation["tags"] for path, item in document["paths"].items() for operation in item.values()}

    assert all(len(group) == 1 for group in groups.values())
    assert len({group for (group,) in groups.values()}) >= 5
    if contract == "agents":
        wanted = {"": "agents", "/responses": "responses", "/files/list": "files", "/context": "context"}
        assert {end: groups[f"/api/v0/agents/{{name}}{end}"][0] for end in wanted} == wanted


async def test_a_contract_that_is_not_served_has_no_document(nobody: Api):
    answer = await nobody.http.get(f"{nobody.served.url}/api-docs/nonsense/openapi.json")

    assert "'nonsense'" in error_of(answer, 404, "NOT_FOUND")["message"]


def test_what_is_served_beside_the_documented_routes_is_known():
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    add_documents(app, {}, default="agents")

    assert {route.path for route in app.routes if isinstance(route, APIRoute)} == set(PATHS)


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/swagger-ui/", "text/html; charset=utf-8"),
        ("/swagger-ui/index.html", "text/html; charset=utf-8"),
        ("/swagger-ui/page.js", "text/javascript; charset=utf-8"),
        ("/swagger-ui/swagger-ui.css", "text/css; charset=utf-8"),
        ("/swagger-ui/favicon-32x32.png", "image/png"),
    ],
)
async def test_the_page_and_its_parts_are_served_under_a_strict_policy(nobody: Api, path: str, media_type: str):
    answer = await nobody.http.get(nobody.served.url + path)

    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"]) == ("'none'", "'self'")
    assert not any("unsafe" in allowed for allowed in policy.values())


@pytest.mark.parametrize("name", ["README.md", "nothing", "..%2fdocuments.py", "%2e%2e/documents.py", "a/b"])
async def test_nothing_else_of_the_package_is_served(nobody: Api, name: str):
    error_of(await nobody.http.get(f"{nobody.served.url}/swagger-ui/{name}"), 404, "NOT_FOUND")


async def test_the_folder_without_its_slash_leads_to_it(nobody: Api):
    answer = await nobody.http.get(f"{nobody.served.url}/swagger-ui")

    assert (answer.status_code, answer.headers["location"]) == (307, "swagger-ui/")


async def test_live_answers_are_what_is_declared(admin: Api, works: Works):
    name = (await admin.made(metadata={"a": 1}, tags=["x"], description="d"))["name"]
    await works(name, StateChanged("idle"), desired=None)
    base = f"/agents/{name}"
    made = (await admin.ask("POST", f"{base}/responses", {"input": {"text": "hi"}})).json()["id"]
    turn_id = uuid.UUID(made)
    await works(name, ResponseChanged(turn_id, "processing"), StateChanged("busy"))
    final = SegmentAdded(turn_id, {"type": "final", "channel": "final", "text": "hello"})
    await works(name, final, ResponseChanged(turn_id, "completed"), StateChanged("idle"))

    asked = [
        ("GET", "/version", "/version", None),
        ("GET", "/health", "/health", None),
        ("GET", "/auth", "/auth", None),
        ("POST", "/auth/login", "/auth/login", {"user": "admin", "pass": "admin"}),
        ("POST", "/operators/{name}/login", "/operators/admin/login", {"pass": "admin"}),
        ("GET", "/agents", "/agents", None),
        ("GET", "/agents/{name}", base, None),
        ("PUT", "/agents/{name}", base, {"description": "e"}),
        ("GET", "/agents/{name}/responses", f"{base}/responses", None),
        ("GET", "/agents/{name}/responses/{response_id}", f"{base}/responses/{made}", None),
        ("PUT", "/agents/{name}/responses/{response_id}", f"{base}/responses/{made}", {"output": {"text": "t"}}),
        ("POST", "/agents/{name}/responses", f"{base}/responses", {"input": {"text": "hi"}}),
        ("GET", "/agents/{name}/responses/count", f"{base}/responses/count", None),
        ("GET", "/agents/{name}/requests", f"{base}/requests", None),
        ("GET", "/agents/{name}/responses/{response_id}/requests", f"{base}/responses/{made}/requests", None),
        ("GET", "/agents/{name}/files/list", f"{base}/files/list", None),
        ("POST", "/agents/{name}/busy", f"{base}/busy", None),
        ("POST", "/agents/{name}/idle", f"{base}/idle", None),
        ("POST", "/agents/{name}/cancel", f"{base}/cancel", None),
        ("POST", "/agents/{name}/sleep", f"{base}/sleep", None),
        ("PUT", "/agents/{name}/state", f"{base}/state", {"state": "slept"}),
    ]
    for method, template, path, body in asked:
        answer = await admin.ask(method, path, body, headers={"accept": "application/json"})
        assert answer.status_code == 200, (path, answer.text)
        ANSWERS[method, template].validate_python(answer.json())


AGENT = {
    "name",
    "created_by",
    "state",
    "description",
    "parent_agent_name",
    "created_at",
    "last_activity_at",
    "metadata",
    "tags",
}
AGENT |= {"is_published", "published_at", "published_by", "publish_permissions", "idle_timeout_seconds"}
AGENT |= {"busy_timeout_seconds", "idle_from", "busy_from", "context_cutoff_at"}
ADDED = {
    "space",
    "model",
    "max_tokens",
    "network",
    "limits",
    "instructions",
    "setup",
    "tools",
    "guardrails",
    "knowledge_bases",
}
PAGE = {"items", "total", "limit", "offset", "page", "pages"}
RESPONSE = {"id", "agent_name", "status", "input_content", "output_content", "segments", "created_at", "updated_at"}
CONTEXT = {"agent", "soft_limit_tokens", "used_tokens_estimated", "used_percent", "basis", "cutoff_at", "measured_at"}
CONTEXT |= {"total_messages_considered"}
OPERATOR = {"user", "description", "active", "created_at", "updated_at", "last_login_at"}
TOKEN = {"token", "token_type", "expires_at", "user", "role"}
TEXT = {"input": {"text": "hi"}}

FIELDS: list[tuple[str, str, Any, set[str]]] = [
    ("GET", "/version", None, {"version", "api"}),
    ("POST", "/operators/ADMIN/login", {"pass": "admin"}, TOKEN),
    ("POST", "/auth/token", {"principal": "fields", "type": "User"}, TOKEN),
    ("GET", "/auth", None, {"user", "type"}),
    ("GET", "/operators/admin", None, OPERATOR | {"role"}),
    ("GET", "/agents", None, PAGE),
    ("GET", "{agent}", None, AGENT | ADDED),
    ("PUT", "{agent}", {"tags": ["One"]}, AGENT | ADDED),
    ("POST", "{agent}/publish", None, AGENT | ADDED),
    ("GET", "/published{agent}", None, AGENT | ADDED),
    ("GET", "/published/agents", None, AGENT | ADDED),
    ("POST", "{agent}/remix", {"name": "fields-remix"}, AGENT | ADDED),
    ("DELETE", "/agents/fields-remix", None, set()),
    ("POST", "{agent}/unpublish", None, AGENT | ADDED),
    ("POST", "{agent}/responses", TEXT, RESPONSE),
    ("GET", "{agent}/responses/{response}", None, RESPONSE),
    ("GET", "{agent}/responses", None, RESPONSE),
    ("PUT", "{agent}/responses/{response}", {"output": {"text": "t"}}, RESPONSE),
    ("GET", "{agent}/responses/count", None, {"count", "agent_name"}),
    ("GET", "{agent}/runtime", None, {"agent_name", "total_runtime_seconds", "current_session_seconds"}),
    ("GET", "{agent}/context", None, CONTEXT),
    ("POST", "{agent}/context/clear", None, CONTEXT),
    ("GET", "{agent}/files/list", None, {"entries", "offset", "limit", "next_offset", "total"}),
    ("GET", "{agent}/files/list/code", None, {"entries", "offset", "limit", "next_offset", "total"}),
    ("GET", "{agent}/files/metadata/main.py", None, {"kind", "size", "mode", "mtime"}),
    ("GET", "{agent}/files/metadata/link", None, {"kind", "size", "mode", "mtime", "link_target"}),
    ("DELETE", "{agent}/files/delete/main.py", None, {"deleted"}),
    ("POST", "{agent}/busy", None, {"success", "state", "timeout_status"}),
    ("POST", "{agent}/idle", None, {"success", "state", "timeout_status"}),
    ("POST", "{agent}/cancel", None, {"status", "agent", "cancelled"}),
    ("POST", "{agent}/sleep", None, AGENT | ADDED),
    ("PUT", "{agent}/state", {"state": "slept"}, {"success", "state"}),
    ("POST", "{agent}/wake", None, AGENT | ADDED),
]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def times(value: Any, name: str = "") -> Iterator[str]:
    """Everything whose name says that it is a time."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from times(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from times(inner, name)
    elif isinstance(value, str) and (name.endswith(("_at", "_from")) or name in {"mtime", "timestamp"}):
        yield value


async def test_objects_have_the_documented_fields_and_times_six_digits(
    admin: Api, works: Works, db: Database, settings: Settings
):
    """Nulls are there, and nothing is that no document names."""
    name = (await admin.made())["name"]
    await works(name, StateChanged("idle"), desired=None)
    folder = make(await place(name, db, settings))
    (folder / "main.py").write_bytes(b"1")
    (folder / "link").symlink_to("main.py")
    (folder / "code").mkdir()
    response = (await admin.ask("POST", f"/agents/{name}/responses", TEXT)).json()["id"]

    for method, path, body, fields in FIELDS:
        answer = await admin.ask(method, path.format(agent=f"/agents/{name}", response=response), body)
        found = answer.json() if answer.content else {}
        items = found if isinstance(found, list) else [found]
        assert answer.status_code == 200, path
        assert items, path
        assert [set(item) for item in items] == [fields] * len(items), path
        for time in times(found):
            assert TIME.fullmatch(time), (path, time)
    for item in (await admin.get("/agents")).json()["items"]:
        assert set(item) == AGENT | ADDED
    for time in times((await admin.get("/agents/nosuch")).json()):
        assert TIME.fullmatch(time)


async def test_the_contract_is_told_whichever_way_the_path_is_written(nobody: Api):
    for prefix in ("/api/v0", "/agents/api/v0"):
        answer = await nobody.http.get(f"{nobody.served.url}{prefix}/version")
        assert answer.headers["raworc-contract"] == "agents"
