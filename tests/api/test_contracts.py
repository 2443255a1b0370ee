"""Which contract answers: prefix, header, token, default, in this order; then the newest that has the operation."""

import json
import uuid

import pytest

from asking import Api, error_of
from raworc.api.app import DOCUMENTS, ROUTES
from raworc.api.contracts import Contracts, split
from raworc.api.routes import Contract, Route
from raworc.keys import load_keys
from raworc.services.tokens import Tokens
from raworc.settings import Settings

pytestmark = pytest.mark.anyio

LOGIN = {"user": "admin", "pass": "admin"}


async def token_of(api: Api, path: str, **headers: str) -> str:
    answer = await api.http.post(api.served.url + path, json=LOGIN, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["token"]


@pytest.mark.parametrize(
    ("login", "prefix", "header", "answers"),
    [
        ("/api/v0/operators/admin/login", "", None, "agents"),
        ("/api/v0/auth/login", "", None, "spaces"),
        ("/api/v0/auth/internal", "", None, "organizations"),
        ("/api/v0/auth/login", "", "organizations", "organizations"),
        ("/api/v0/auth/internal", "/spaces", "organizations", "spaces"),
        ("/api/v0/auth/internal", "", "nonsense", "organizations"),
        ("/agents/api/v0/auth/internal", "", None, "agents"),
        (None, "", None, "agents"),
        (None, "", "spaces", "spaces"),
        (None, "/organizations", None, "organizations"),
    ],
)
async def test_prefix_wins_over_header_over_token_over_default(
    nobody: Api, login: str | None, prefix: str, header: str | None, answers: str
):
    """``/version`` is in all of them."""
    headers = {"raworc-contract": header} if header else {}
    if login:
        headers["authorization"] = f"Bearer {await token_of(nobody, login)}"
    answer = await nobody.http.get(f"{nobody.served.url}{prefix}/api/v0/version", headers=headers)

    assert (answer.status_code, answer.headers["raworc-contract"]) == (200, answers)


async def test_each_way_to_log_in_works_at_the_plain_address_with_what_its_clients_ask_next(nobody: Api):
    me = {"user": "admin", "namespace": None, "type": "ServiceAccount"}
    for login, path, expected in (
        ("/auth/login", "/auth/me", me),
        ("/auth/internal", "/auth/me", me),
        ("/operators/admin/login", "/auth", {"user": "admin", "type": "Admin"}),
    ):
        token = await token_of(nobody, f"/api/v0{login}")
        headers = {"authorization": f"Bearer {token}"}
        answer = await nobody.http.get(f"{nobody.served.url}/api/v0{path}", headers=headers)
        assert answer.json() == expected


async def test_what_a_contract_does_not_have_is_answered_by_the_newest_that_does(nobody: Api):
    for asked, path, answers in (
        ("agents", "/spaces", "spaces"),
        ("organizations", "/spaces", "spaces"),
        ("spaces", "/operators", "agents"),
        ("agents", "/auth/me", "spaces"),
    ):
        token = await token_of(nobody, "/api/v0/auth/login")
        url = f"{nobody.served.url}/{asked}/api/v0{path}"
        answer = await nobody.http.get(url, headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.headers["raworc-contract"]) == (200, answers), path


async def test_where_only_paths_match_405_names_what_any_contract_takes(nobody: Api):
    answer = await nobody.http.put(f"{nobody.served.url}/organizations/api/v0/spaces")

    error_of(answer, 405, "METHOD_NOT_ALLOWED")
    assert (answer.headers["allow"], answer.headers["raworc-contract"]) == ("GET, POST", "organizations")
    for path in ("/api/v0/nothing", "/spaces/api/v0/nothing", "/spaces/api/v0", "/nonsense/api/v0/version"):
        error_of(await nobody.http.get(nobody.served.url + path), 404, "NOT_FOUND")


async def test_a_token_that_does_not_count_chooses_nothing(nobody: Api, settings: Settings):
    forged, _ = Tokens(b"x" * 32).login(uuid.uuid4(), 1, "organizations", ttl_s=60)
    answer = await nobody.http.get(f"{nobody.served.url}/api/v0/version", headers={"authorization": f"Bearer {forged}"})

    assert answer.headers["raworc-contract"] == "agents"
    assert load_keys(settings).jwt != b"x" * 32


@pytest.mark.parametrize("contract", ["spaces", "organizations"])
async def test_a_contracts_document_has_its_paths_as_its_clients_write_them(nobody: Api, contract: str):
    answer = (await nobody.http.get(f"{nobody.served.url}/api-docs/{contract}/openapi.json")).json()

    assert answer["servers"] == [{"url": f"/{contract}"}]
    served = {(route.method.lower(), "/api/v0" + route.path) for route in DOCUMENTS[contract]}
    assert {(method, path) for path, methods in answer["paths"].items() for method in methods} == served
    assert '"422"' not in json.dumps(answer)


async def test_the_page_of_documents_lists_every_contract(nobody: Api):
    answer = await nobody.http.get(f"{nobody.served.url}/swagger-ui/contracts.json")

    assert [item["name"] for item in answer.json()] == ["agents", "spaces", "organizations", "train"]


async def _handler() -> None:
    raise NotImplementedError


def routes(*rows: tuple[Contract, str, str]) -> list[Route]:
    return [Route(method, path, _handler, contract=contract) for contract, method, path in rows]  # type: ignore[arg-type]


def test_the_table_is_asked_by_method_and_shape():
    table = Contracts(
        routes(
            ("agents", "GET", "/agents/{name}"),
            ("organizations", "GET", "/agents/{id}"),
            ("organizations", "PUT", "/agents/{id}"),
            ("spaces", "DELETE", "/agents/{name}"),
            ("agents", "GET", "/agents/{name}/files/read/{path:file}"),
        ),
        "spaces",
        lambda token: "organizations" if token == "ours" else None,
    )

    assert table.serving("organizations", "GET", "/api/v0/agents/x") == "organizations"
    assert table.serving("spaces", "GET", "/api/v0/agents/x") == "agents"
    assert table.serving("agents", "PUT", "/api/v0/agents/x") == "organizations"
    assert table.serving("agents", "POST", "/api/v0/agents/x") is None
    assert table.serving("agents", "GET", "/api/v0/agents/x/y") is None
    assert table.methods("/api/v0/agents/x") == ["DELETE", "GET", "PUT"]
    scope = {"headers": [(b"authorization", b"Bearer ours")]}
    assert table.asked(scope, None) == "organizations"
    assert table.asked(scope, "agents") == "agents"
    assert table.asked({"headers": []}, None) == "spaces"


def test_a_prefix_counts_before_the_api_alone():
    assert split("/spaces/api/v0/spaces") == ("spaces", "/api/v0/spaces")
    for path in ("/api/v0/spaces", "/spaces/api/v1/x", "/spaces", "/train/api/v0/x", "//spaces/api/v0/x"):
        assert split(path) == (None, path)


def test_every_route_is_reached_through_the_table():
    table = Contracts(ROUTES, "agents", lambda _: None)
    for route in ROUTES:
        if not route.is_root:
            path = ("/api/v0" + route.path).replace("{path:file}", "a/b").replace("{", "").replace("}", "")
            assert table.serving(route.contract, route.method, path) == route.contract
