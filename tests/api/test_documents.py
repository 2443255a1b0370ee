"""The OpenAPI document is served, and live answers are what it says, field by field."""

import uuid
from typing import Any

import pytest
from pydantic import TypeAdapter

from asking import Api
from raworc.api.app import ROUTES
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
