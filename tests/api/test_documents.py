"""The OpenAPI document is served, and live answers are what it says, field by field."""

import uuid
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from asking import Api, error_of
from raworc.api.app import ROUTES
from raworc.api.documents import PATHS, add_documents
from raworc.services.progress import ResponseChanged, SegmentAdded, StateChanged
from works import Works

pytestmark = pytest.mark.anyio

ANSWERS = {(route.method, route.path): TypeAdapter[Any](route.answer) for route in ROUTES if route.answer is not None}


@pytest.mark.parametrize("path", ["/api-docs/openapi.json", "/api-docs/agents/openapi.json"])
async def test_the_document_is_public_and_complete(nobody: Api, path: str):
    answer = await nobody.http.get(nobody.served.url + path)

    document = answer.json()
    assert answer.status_code == 200
    assert document["openapi"].startswith("3.1")
    served = {(route.method.lower(), route.full_path.replace(":file}", "}")) for route in ROUTES}
    assert {(method, path) for path, methods in document["paths"].items() for method in methods} == served


async def test_a_contract_that_is_not_served_has_no_document(nobody: Api):
    answer = await nobody.http.get(f"{nobody.served.url}/api-docs/nonsense/openapi.json")

    assert "'nonsense'" in error_of(answer, 404, "NOT_FOUND")["message"]


def test_what_is_served_beside_the_documented_routes_is_known():
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    add_documents(app, {})

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


async def test_the_contract_is_told_whichever_way_the_path_is_written(nobody: Api):
    for prefix in ("/api/v0", "/agents/api/v0"):
        answer = await nobody.http.get(f"{nobody.served.url}{prefix}/version")
        assert answer.headers["raworc-contract"] == "agents"
