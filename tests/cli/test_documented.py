"""What the older documents show at `raworc>`, word by word."""

import json
from collections.abc import Iterator

import pytest

from stack import Stack
from terminal import Shell

CREATE = '/api POST agents {"name":"helper","namespace":"acme-corp","model":"gpt-4"}'
"""As organizations-api-overview.md has it; the document of models says that ``instructions`` are needed, too."""
LOGIN = '{"user":"admin","pass":"admin","namespace":null}'
CORE = ("health", "version", "auth/me", "service-accounts", "roles", "role-bindings", "agents", "sessions")
"""What the document's tables list for GET without an id."""


@pytest.fixture
def organizations(person: Shell, steady_stack: Stack) -> Iterator[Shell]:
    """Somebody for whom plain paths are those of the contract organizations; `acme-corp` is there."""
    said = person.here("api", "--contract", "spaces", "POST", "spaces", '{"name": "acme-corp"}')
    assert json.loads(said)["name"] == "acme-corp"
    shell = Shell({**person.env, "RAWORC_API": "organizations"})
    yield shell
    for agent in json.loads(shell.here("api", "agents?namespace=acme-corp")):
        shell.here("api", "DELETE", f"agents/{agent['id']}")
    person.here("api", "--contract", "spaces", "DELETE", "spaces/acme-corp")


def test_the_examples_of_organizations(organizations: Shell):
    shell = organizations
    assert json.loads(shell.here(typed="/api agents?namespace=acme-corp\n")) == []
    said = shell.here(typed=f"{CREATE}\n", code=4)
    assert "'instructions'" in said
    assert "400 Bad Request" in said
    whole = CREATE.replace('"gpt-4"', '"gpt-4","instructions":"Help."')
    made = json.loads(shell.here(typed=f"{whole}\n"))
    assert (made["name"], made["namespace"], made["model"]) == ("helper", "acme-corp", "gpt-4")
    assert [item["id"] for item in json.loads(shell.here(typed="/api agents?namespace=acme-corp\n"))] == [made["id"]]
    for filtered in ("namespace=acme-corp", "state=READY"):
        assert isinstance(json.loads(shell.here(typed=f"/api sessions?{filtered}\n")), list)
    assert "'tech-startup'" in shell.here(typed="/api agents?namespace=tech-startup\n", code=4)
    page = json.loads(shell.here(typed="/api GET /api/v0/agents?page=1&limit=20\n"))
    assert ([item["id"] for item in page["items"]], page["total"]) == ([made["id"]], 1)
    chosen = "/api GET /api/v0/agents?active={}&model=gpt-4\n"
    assert [item["id"] for item in json.loads(shell.here(typed=chosen.format("true")))] == [made["id"]]
    assert json.loads(shell.here(typed=chosen.format("false"))) == []
    token = json.loads(shell.here(typed=f"/api POST /api/v0/auth/internal {LOGIN}\n"))
    assert token["token_type"] == "Bearer"
    assert "409 Conflict" in shell.here(typed=f"{whole}\n", code=4)
    assert shell.here(typed="/api DELETE agents/helper\n").strip() == ""
    assert "404 Not Found" in shell.here(typed="/api DELETE agents/helper\n", code=4)


def test_what_the_tables_of_organizations_list_is_shown(organizations: Shell):
    said = organizations.here(typed="".join(f"/api {path}\n" for path in CORE))
    assert said.count("\n{\n") + said.count("\n[") + said.startswith(("{", "[")) == len(CORE), said


def test_an_unknown_contract_is_named(person: Shell):
    assert "there is no contract 'nobodys'" in person.here("api", "--contract", "nobodys", "agents", code=1)
    wrong = Shell({**person.env, "RAWORC_API": "nobodys"})
    assert "'RAWORC_API' must be one of agents, spaces, organizations" in wrong.here("api", "agents", code=1)
