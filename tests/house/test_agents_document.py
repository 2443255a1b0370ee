"""The public document of the agents contract, endpoint by endpoint and field by field, written down here by hand.

What is served is compared with this table, so nothing of it can go or change its kind unseen. Live answers are
looked at in ``tests/api/test_documents.py``.
"""

import functools
from typing import Any, NamedTuple

import pytest
from fastapi import FastAPI

from raworc.api.app import DOCUMENTS, ROUTES, add_routes
from raworc.api.openapi import describe

Json = dict[str, Any]

AGENT = (
    "name created_by state description parent_agent_name created_at last_activity_at metadata tags is_published "
    "published_at published_by publish_permissions idle_timeout_seconds busy_timeout_seconds idle_from busy_from "
    "context_cutoff_at"
)
LIST = "items total limit offset page pages"
RESPONSE = "id agent_name status input_content output_content segments created_at updated_at"
COUNT = "count agent_name"
ENTRIES = "entries offset limit next_offset total"
FILE = "kind size mode mtime"
CONTEXT = (
    "agent soft_limit_tokens used_tokens_estimated used_percent basis cutoff_at measured_at total_messages_considered"
)
RUNTIME = "agent_name total_runtime_seconds current_session_seconds"
HELD = "success state timeout_status"
LISTED = "limit=30 page=1 q tags state offset"
CREATE = (
    "name! description? metadata tags secrets instructions? setup? prompt? idle_timeout_seconds? busy_timeout_seconds?"
)
UPDATE = "metadata? description? tags? idle_timeout_seconds? busy_timeout_seconds?"
REMIX = "name! metadata? code=True secrets=True content=True prompt?"
NOTHING = ""


class Endpoint(NamedTuple):
    """Below ``/api/v0``. ``query``: names with defaults. ``body``: ``!`` required, ``?`` may be null, or a default."""

    method: str
    path: str
    query: str
    body: str
    answer: str
    refusals: str


ENDPOINTS = [
    Endpoint("GET", "/version", "", "", "version api", ""),
    Endpoint("GET", "/agents", LISTED, "", LIST, "400 401"),
    Endpoint("POST", "/agents", "", CREATE, AGENT, "400 401 403 409"),
    Endpoint("GET", "/agents/{name}", "", "", AGENT, "401 403 404"),
    Endpoint("PUT", "/agents/{name}", "", UPDATE, AGENT, "400 401 403 404"),
    Endpoint("PUT", "/agents/{name}/state", "", "state!", "success state", "400 401 403 404 409"),
    Endpoint("POST", "/agents/{name}/busy", "", "", HELD, "401 403 404 409"),
    Endpoint("POST", "/agents/{name}/idle", "", "", HELD, "401 403 404 409"),
    Endpoint("POST", "/agents/{name}/sleep", "", "delay_seconds? note?", AGENT, "400 401 403 404"),
    Endpoint("POST", "/agents/{name}/cancel", "", "", "status agent cancelled", "401 403 404"),
    Endpoint("POST", "/agents/{name}/wake", "", "prompt?", AGENT, "400 401 403 404"),
    Endpoint("GET", "/agents/{name}/runtime", "", "", RUNTIME, "401 403 404"),
    Endpoint("POST", "/agents/{name}/remix", "", REMIX, AGENT, "400 401 403 404 409"),
    Endpoint("POST", "/agents/{name}/publish", "", "code=True secrets content=True", AGENT, "400 401 403 404"),
    Endpoint("POST", "/agents/{name}/unpublish", "", "", AGENT, "401 403 404"),
    Endpoint("DELETE", "/agents/{name}", "", "", NOTHING, "401 403 404"),
    Endpoint("GET", "/agents/{name}/responses", "limit=100 offset=0", "", f"[{RESPONSE}]", "400 401 403 404"),
    Endpoint("POST", "/agents/{name}/responses", "", "input! background=True", RESPONSE, "400 401 403 404 504"),
    Endpoint("GET", "/agents/{name}/responses/{id}", "", "", RESPONSE, "401 403 404"),
    Endpoint("PUT", "/agents/{name}/responses/{id}", "", "status? input? output?", RESPONSE, "400 401 403 404 409"),
    Endpoint("GET", "/agents/{name}/responses/count", "", "", COUNT, "401 403 404"),
    Endpoint("GET", "/agents/{name}/files/list", "offset=0 limit=100", "", ENTRIES, "400 401 403 404 409"),
    Endpoint("GET", "/agents/{name}/files/list/{path}", "offset=0 limit=100", "", ENTRIES, "400 401 403 404 409"),
    Endpoint("GET", "/agents/{name}/files/metadata/{path}", "", "", f"{FILE} link_target", "400 401 403 404 409"),
    Endpoint("GET", "/agents/{name}/files/read/{path}", "", "", NOTHING, "400 401 403 404 409 413"),
    Endpoint("DELETE", "/agents/{name}/files/delete/{path}", "", "", "deleted", "400 401 403 404 409"),
    Endpoint("GET", "/agents/{name}/context", "", "", CONTEXT, "401 403 404"),
    Endpoint("POST", "/agents/{name}/context/clear", "", "", CONTEXT, "401 403 404"),
    Endpoint("POST", "/agents/{name}/context/compact", "", "", CONTEXT, "401 403 404 409"),
    Endpoint("GET", "/published/agents", "", "", f"[{AGENT}]", ""),
    Endpoint("GET", "/published/agents/{name}", "", "", AGENT, "404"),
]
PUBLIC = {"/version", "/published/agents", "/published/agents/{name}"}


@functools.cache
def described() -> Json:
    app = FastAPI()
    add_routes(app, ROUTES)
    return describe(app, DOCUMENTS["agents"])


def operation(endpoint: Endpoint) -> Json:
    path = "/api/v0" + endpoint.path.replace("{id}", "{response_id}")
    return described()["paths"][path][endpoint.method.lower()]


def resolved(schema: Json) -> Json:
    """The schema itself, behind its name; of a list, that of its items."""
    while "$ref" in schema or schema.get("type") == "array":
        name = schema.get("$ref", "").rpartition("/")[2]
        schema = described()["components"]["schemas"][name] if name else schema["items"]
    return schema


def body_of(endpoint: Endpoint) -> Json:
    content = operation(endpoint).get("requestBody", {}).get("content", {})
    return resolved(content["application/json"]["schema"]) if content else {}


def default_of(schema: Json) -> str:
    default = schema.get("default")
    return "" if default is None else str(default)


every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=[f"{e.method} {e.path}" for e in ENDPOINTS])


@every_endpoint
def test_it_is_told_who_may_ask(endpoint: Endpoint):
    wanted = [] if endpoint.path in PUBLIC else [{"bearer": []}]
    assert operation(endpoint).get("security", []) == wanted


@every_endpoint
def test_the_query_is_the_documented_one(endpoint: Endpoint):
    parameters = {p["name"]: p for p in operation(endpoint).get("parameters", []) if p["in"] == "query"}

    for word in endpoint.query.split():
        name, _, default = word.partition("=")
        assert (parameters[name]["required"], default_of(parameters[name]["schema"])) == (False, default), name


@every_endpoint
def test_the_body_is_the_documented_one(endpoint: Endpoint):
    told = body_of(endpoint)
    words = endpoint.body.split()

    assert told.get("required", []) == [word.removesuffix("!") for word in words if word.endswith("!")]
    for word in words:
        name, _, default = word.rstrip("!?").partition("=")
        field = told["properties"][name]
        assert default_of(field) == default, name
        assert {"type": "null"} in field.get("anyOf", []) or not word.endswith("?"), name


@every_endpoint
def test_the_answer_is_the_documented_one(endpoint: Endpoint):
    content = operation(endpoint)["responses"]["200"].get("content", {})
    schema = content.get("application/json", {}).get("schema", {})

    assert (schema.get("type") == "array") is endpoint.answer.startswith("[")
    assert set(endpoint.answer.strip("[]").split()) <= set(resolved(schema).get("properties", {}))
    assert bool(schema) is (endpoint.answer != NOTHING)


@every_endpoint
def test_success_is_200_and_refusals_the_documented_ones(endpoint: Endpoint):
    statuses = set(operation(endpoint)["responses"])

    assert set(endpoint.refusals.split()) <= statuses - {"422"} == statuses
    assert {status for status in statuses if status < "400"} == {"200"}
