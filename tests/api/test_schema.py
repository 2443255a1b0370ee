"""Requests made up from the OpenAPI document: every answer is a declared one, and none is a 5xx."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import pytest
import requests
import schemathesis
from fastapi import FastAPI
from hypothesis import settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from raworc.api.app import ROUTES, add_routes
from raworc.api.openapi import describe
from raworc.client import Raworc
from stack import Stack


@dataclass(frozen=True)
class Known:
    """What is really there: an agent, one of its responses, and a token for both."""

    url: str
    token: str
    agent: str
    response_id: str


@pytest.fixture(scope="module")
def known(stack: Stack) -> Known:
    client = stack.client()
    agent = client.agents.create("known").name
    turn = client.responses.ask(agent, "```bash\nmkdir folder; echo > folder/file\n```")
    assert turn.status == "completed"
    with Raworc(stack.url) as fresh:
        return Known(stack.url, fresh.login("admin", "admin").token, agent, turn.id)


def document() -> dict[str, Any]:
    app = FastAPI()
    add_routes(app, ROUTES)
    return describe(app, ROUTES)


PATHS = [(route.method, re.sub(r":\w+}", "}", route.full_path)) for route in ROUTES]
OPERATIONS = [f"{method} {path}" for method, path in PATHS]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def asking() -> dict[str, Callable[..., None]]:
    """``ask`` for each operation. It takes long to make, so it is not made while every worker collects."""
    schema = schemathesis.openapi.from_dict(document())
    made = [one.ok() for one in get_all_tests(schema=schema, test_func=ask, settings=None, given_kwargs=None)]
    return {operation.label: asks for operation, asks in made}


def test_every_operation_of_the_document_is_asked(asking: dict[str, Callable[..., None]]):
    assert sorted(asking) == sorted(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_made_up_requests_get_declared_answers(operation: str, asking: dict[str, Callable[..., None]], known: Known):
    asking[operation](known=known)


@settings(settings.get_profile("made-up-requests"))
def ask(case: Case, known: Known) -> None:
    if case.operation.label != "DELETE /api/v0/agents/{name}":
        aim(case, known)
    headers = {"authorization": f"Bearer {known.token}"}
    with requests.Session() as session:
        session.hooks["response"].append(begun)
        answer = case.call(base_url=known.url, session=session, headers=headers, timeout=20, stream=True)
    case.validate_response(answer, checks=CHECKS)


def begun(answer: requests.Response, **_options: Any) -> requests.Response:
    """Event streams have no end, so their first byte stands for all."""
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        answer._content = answer.raw.read(1)
        answer.close()
    return answer


def aim(case: Case, known: Known) -> None:
    """Half of the requests about an agent are about one that is there."""
    for name, value in (("name", known.agent), ("response_id", known.response_id)):
        made_up = case.path_parameters.get(name)
        if made_up is not None and crc32(str(made_up).encode("utf-8", "surrogatepass")) % 2:
            case.path_parameters[name] = value
