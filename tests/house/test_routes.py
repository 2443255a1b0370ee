"""Every route says who may use it, how it may fail, and what it answers; every error has its place.

The route table and the error tree are walked, so what is added later is held to the same.
"""

import functools
from collections.abc import Iterator
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from house.snapshot import FILE, document
from raworc.api.app import ROUTES, add_routes
from raworc.api.auth import Permission, SignedIn
from raworc.api.bodies import Body
from raworc.api.once import Keyed
from raworc.api.openapi import dependencies_of, describe, errors_of
from raworc.api.problems import problem
from raworc.api.routes import Route
from raworc.api.schemas import Answer
from raworc.client.errors import BY_CODE
from raworc.domain.access import Rule
from raworc.errors import LostHold, RaworcError, TurnSettled

PUBLIC = {
    ("GET", "/api/v0/version"),
    ("GET", "/api/v0/health"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/health"),  # the train's document has it so
    ("GET", "/metrics"),  # its own guard asks for a token, but not programs of this machine
    ("POST", "/api/v0/operators/{name}/login"),
    ("GET", "/spaces/api/v0/version"),
    ("GET", "/spaces/api/v0/health"),
    ("POST", "/spaces/api/v0/auth/login"),
    ("GET", "/organizations/api/v0/version"),
    ("GET", "/organizations/api/v0/health"),
    ("POST", "/organizations/api/v0/auth/internal"),
    ("POST", "/organizations/api/v0/auth/external"),
    ("GET", "/api/v0/published/agents"),
    ("GET", "/api/v0/published/agents/{name}"),
}
"""What may be asked without a token. Whoever adds to this list must be able to say why."""

FOR_ANYBODY_SIGNED_IN = {
    ("GET", "/api/v0/auth"),
    ("GET", "/spaces/api/v0/auth/me"),
    ("GET", "/organizations/api/v0/auth/me"),
    ("PUT", "/spaces/api/v0/service-accounts/{id}/password"),
    ("PUT", "/organizations/api/v0/service-accounts/{id}/password"),
    ("GET", "/api/v0/operators"),
    ("GET", "/api/v0/operators/{name}"),
    ("PUT", "/api/v0/operators/{name}/password"),
}
"""What any account may ask, whatever its roles: it is about the caller. Of others, the service asks for a role."""

FOR_THE_AGENT_ITSELF = {
    ("GET", "/api/v0/agents/{name}"),
    ("GET", "/api/v0/agents/{name}/events"),
    ("GET", "/api/v0/agents/{name}/responses"),
    ("GET", "/api/v0/agents/{name}/responses/count"),
    ("GET", "/api/v0/agents/{name}/responses/{response_id}"),
    ("GET", "/api/v0/agents/{name}/responses/{response_id}/events"),
    ("PUT", "/api/v0/agents/{name}/responses/{response_id}"),
    ("PUT", "/api/v0/agents/{name}/state"),
    ("POST", "/api/v0/agents/{name}/busy"),
    ("POST", "/api/v0/agents/{name}/idle"),
}
"""What an agent's own token is good for: its work. Whatever is added here must hold the caller to that agent."""

NEVER_KEPT = {
    ("POST", "/spaces/api/v0/auth/login"): "the answer is a credential",
    ("POST", "/organizations/api/v0/auth/internal"): "the answer is a credential",
    ("POST", "/organizations/api/v0/auth/external"): "the answer is a credential",
    ("POST", "/api/v0/operators/{name}/login"): "the answer is a credential",
    ("POST", "/api/v0/auth/token"): "the answer is a credential",
    ("POST", "/api/v0/agents/{name}/token"): "the answer is a credential",
    ("POST", "/api/keys"): "the answer is a credential",
    ("POST", "/api/upstreams"): "names are unique: asked again, it is a conflict",
    ("POST", "/api/upstreams/{upstream}/refresh"): "asked again, it renews again",
}
"""POSTs that take no Idempotency-Key, and why."""

RESOURCES = {
    "agents",
    "audit",
    "builds",
    "keys",
    "messages",
    "requests",
    "role-bindings",
    "roles",
    "secrets",
    "service-accounts",
    "sessions",
    "spaces",
    "upstreams",
    "usage",
}
VERBS = {"get", "list", "create", "update", "delete"}
WRITING = {"POST", "PUT", "PATCH", "DELETE"}


@functools.cache  # when it is needed: every worker reads this file, one tests by it
def served() -> tuple[FastAPI, dict[tuple[str, str], APIRoute]]:
    app = FastAPI()
    add_routes(app, ROUTES)
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    return app, {(method, route.path): route for route in routes for method in route.methods or ()}


@functools.cache
def described() -> dict[str, Any]:
    return describe(served()[0], ROUTES)


def name_of(route: Route) -> str:
    return f"{route.method} {route.full_path}"


def guards_of(route: Route) -> list[object]:
    found = dependencies_of(served()[1][route.method, route.full_path].dependant)
    return [item for item in found if isinstance(item, Permission | SignedIn)]


def operation_of(route: Route) -> dict[str, Any]:
    path = served()[1][route.method, route.full_path].path_format
    return cast("dict[str, Any]", described()["paths"][path][route.method.lower()])


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_a_route_names_its_permission_or_is_on_a_list(route: Route):
    guards, key = guards_of(route), (route.method, route.full_path)

    if key in PUBLIC:
        assert guards == []
    elif key in FOR_ANYBODY_SIGNED_IN:
        assert guards == [SignedIn()]
    else:
        (guard,) = guards
        assert isinstance(guard, Permission)
        assert guard.resource in RESOURCES
        assert guard.verb in VERBS


def test_an_agents_own_token_is_good_for_what_is_listed_and_nothing_else():
    marked = {
        (route.method, route.full_path)
        for route in ROUTES
        for guard in guards_of(route)
        if isinstance(guard, Permission | SignedIn) and guard.of_agent
    }

    assert marked == FOR_THE_AGENT_ITSELF


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_what_changes_something_asks_for_more_than_a_look(route: Route):
    verbs = {guard.verb for guard in guards_of(route) if isinstance(guard, Permission)}

    if route.method in WRITING:
        assert not verbs & {"get", "list"}
    else:
        assert not verbs - {"get", "list"}


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "POST"], ids=name_of)
def test_a_post_may_be_sent_twice_or_says_why_not(route: Route):
    key = (route.method, route.full_path)
    is_keyed = any(isinstance(item, Keyed) for item in dependencies_of(served()[1][key].dependant))

    assert is_keyed != (key in NEVER_KEPT)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_permission_is_held_by_a_rule_for_it_and_by_no_other(verb: str):
    mine = Rule(frozenset({"own-agents"}), frozenset({verb.replace("get", "read")}))
    other = Rule(frozenset({"agents"}), frozenset({"update" if verb != "update" else "list"}))

    assert mine.covers(verb, "own-agents")
    assert not other.covers(verb, "agents")


def test_the_lists_name_only_what_is_served():
    assert {(route.method, route.full_path) for route in ROUTES} >= PUBLIC | FOR_ANYBODY_SIGNED_IN


def test_no_route_is_there_twice():
    keys = [(route.method, route.full_path) for route in ROUTES]

    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_every_status_that_a_route_gives_is_documented_and_422_is_not(route: Route):
    operation = operation_of(route)
    dependencies = list(dependencies_of(served()[1][route.method, route.full_path].dependant))
    expected = {str(route.status), *(str(error.status) for error in errors_of(route, dependencies))}

    assert set(operation["responses"]) == expected
    assert "422" not in expected
    for status, answer in operation["responses"].items():
        if status != str(route.status):
            schema = answer["content"]["application/json"]["schema"]
            problem_or_own = schema.get("anyOf", [schema]) if route.refusal else [schema]
            assert {"$ref": "#/components/schemas/Problem"} in problem_or_own


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_a_route_is_documented_in_words_and_with_its_security(route: Route):
    operation = operation_of(route)

    assert operation["description"]
    assert ("security" in operation) == ((route.method, route.full_path) not in PUBLIC)
    success = operation["responses"][str(route.status)].get("content", {})
    assert set(success) == {*(["application/json"] if route.answer else []), route.media_type} - {None}


def test_every_reference_of_the_document_leads_somewhere():
    schemas = described()["components"]["schemas"]

    def references(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in cast("dict[str, object]", node).items():
                if key == "$ref":
                    yield str(value)
                yield from references(value)
        elif isinstance(node, list):
            for value in cast("list[object]", node):
                yield from references(value)

    for reference in references(described()):
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_every_field_says_what_it_means():
    schemas = described()["components"]["schemas"]
    silent = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, told in schema.get("properties", {}).items()
        if not told.get("description")
    ]
    assert silent == [], "give each a description at its model, with its unit"


def every_error(kind: type[RaworcError] = RaworcError) -> Iterator[type[RaworcError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from every_error(child)


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_a_code_an_answer_and_an_exception_of_the_client(kind: type[RaworcError]):
    answer = problem(kind("what happened"), request_id="r")

    assert 400 <= kind.status < 600
    assert answer.status_code == kind.status
    assert f'"code":"{kind.code}"'.encode() in answer.body
    if kind not in {LostHold, TurnSettled}:  # inside operators only
        assert BY_CODE[kind.code].status == kind.status


def test_what_a_route_may_raise_is_an_error_that_callers_meet():
    internal = {LostHold, TurnSettled}

    assert not internal & {error for route in ROUTES for error in route.fails}


def test_a_server_builds_no_model_before_it_is_used():
    app = FastAPI()
    add_routes(app, ROUTES)
    assert [route.path for route in app.routes if isinstance(route, APIRoute) and route.response_field] == []
    late = [type(f"Late{base.__name__}", (base,), {"__module__": __name__}) for base in (Answer, Body)]
    assert [model for model in late if model.__pydantic_complete__] == []


def test_the_document_is_the_one_that_was_reviewed():
    assert document() == FILE.read_text(), "what is served changed: run 'tests/house/snapshot.py' and review its file"
