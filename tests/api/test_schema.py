"""Requests made up from the OpenAPI document: every answer is a declared one, and none is a 5xx."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cluster import clone, drop
from conftest import short_home
from raworc.api.app import ROUTES, add_routes
from raworc.api.openapi import describe
from raworc.client import Raworc
from raworc.settings import Settings
from raworc.supervisor.cluster import Cluster
from stack import Stack


@pytest.fixture(scope="module")
def server(postgres: Cluster) -> Iterator[Stack]:
    """A server without operators: agents stay where they are."""
    name = clone(postgres)
    with short_home() as folder:
        running = Stack(Settings(home=folder, database_url=postgres.url(name)))
        try:
            running.start("server")
            yield running
        finally:
            running.close()
            drop(postgres, name)


@pytest.fixture(scope="module")
def token(server: Stack) -> str:
    with Raworc(server.url) as client:
        return client.login("admin", "admin").token


def document() -> dict[str, Any]:
    app = FastAPI()
    add_routes(app, ROUTES)
    return describe(app, ROUTES)


# Streams have no end, and logins that fail are slowed down on purpose.
schema = schemathesis.openapi.from_dict(document()).exclude(path_regex="/events$").exclude(path_regex="/login$")


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_made_up_requests_get_declared_answers(case: Case, server: Stack, token: str):
    answer = case.call(base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=10)
    case.validate_response(answer, checks=CHECKS)
