"""What the documents of spaces and organizations constrain, at each limit and one step beyond it.

And what is not there, is there twice, or is still needed. Each line was written from the documents by hand.
"""

import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from asking import PASSWORD, Api, error_of
from spaced import member

pytestmark = pytest.mark.anyio

REPO = "owner/name"
AGENT = {"instructions": "i", "model": "scripted"}
RULE = {"resources": ["agents"], "verbs": ["get"]}
ROLE = {"rules": [RULE]}
ACCOUNT = {"pass": PASSWORD}
CODE = {"source_repo": REPO}
SECRET = {"value": "v"}
SESSION = {"name": "n", "starting_prompt": "p"}
BINDING = {"role_ref": {"name": "developer"}, "subjects": [{"kind": "User", "name": "admin"}]}


def name(length: int) -> str:
    """A new one of this many characters."""
    return f"n{uuid.uuid4().hex}"[:length].ljust(length, "x")


def text(length: int) -> str:
    return "ü" * length


@dataclass(frozen=True)
class Limit:
    """``good`` values of a field are taken by this route, ``bad`` ones are 400 and named."""

    contract: str
    path: str
    field: str
    good: tuple[Any, ...]
    bad: tuple[Any, ...]
    rest: Any = None


LIMITS = [
    Limit("spaces", "/spaces", "name", (name(1), name(63)), (name(64), "", "a.b")),
    Limit("spaces", "/spaces", "settings", ({"a": "x" * 65_527},), ({"a": "x" * 65_528}, []), {"name": 63}),
    Limit("spaces", "/spaces/{space}/secrets", "key_name", ("_", "K" * 255), ("K" * 256, "", "1A", "A-B", "Ä"), SECRET),
    Limit("spaces", "/spaces/{space}/secrets", "value", ("", "x" * 65_536, "ü" * 32_768), ("x" * 65_537, "ü" * 32_769),
          {"key_name": 40}),
    Limit("spaces", "/spaces/{space}/agents", "name", (name(1), name(63)), (name(64), "", "running"), CODE),
    Limit("spaces", "/spaces/{space}/agents", "purpose", (text(4000),), (text(4001),), {"name": 40, **CODE}),
    Limit("spaces", "/spaces/{space}/agents", "source_branch", ("b" * 255,), ("b" * 256, ""), {"name": 40, **CODE}),
    Limit("spaces", "/sessions/{session}/messages", "content", (text(1), text(65_535)), ("", text(65_536))),
    Limit("spaces", "/service-accounts", "user", ("a", name(255)), (name(256), "", "a b", "ä"), ACCOUNT),
    Limit("spaces", "/service-accounts", "pass", ("p" * 8,), ("p" * 7, ""), {"user": 40}),
    Limit("spaces", "/roles", "name", ("a", name(255)), (name(256), "", "a b"), ROLE),
    Limit("spaces", "/roles", "rules", ([RULE] * 64,), ([RULE] * 65, [{**RULE, "resources": []}]), {"name": 40}),
    Limit("organizations", "/service-accounts", "user", ("b", name(255)), (name(256), "", "a b"), ACCOUNT),
    Limit("organizations", "/service-accounts", "pass", ("p" * 8,), ("p" * 7, ""), {"user": 40}),
    Limit("organizations", "/roles", "name", ("b", name(255)), (name(256), "", "a.b"), ROLE),
    Limit("organizations", "/roles", "rules",
          tuple([{"resources": ["agents"], "verbs": [verb]}]
                for verb in ("get", "list", "create", "update", "delete", "*")),
          ([{"resources": ["agents"], "verbs": ["exec"]}], [{"resources": ["pods"], "verbs": ["get"]}]),
          {"name": 40}),
    Limit("organizations", "/role-bindings", "name", ("a",), (name(256), "", "a b"), BINDING),
    Limit("organizations", "/role-bindings", "name", (name(255),), ("-a",),
          {**BINDING, "role_ref": {"name": "operator"}}),
    Limit("organizations", "/agents", "name", (name(1), name(255)), (name(256), "", "a.b", "ä"), AGENT),
    Limit("organizations", "/agents", "instructions", ("i", text(65_535)), ("", text(65_536)), {"name": 40, **AGENT}),
    Limit("organizations", "/agents", "description", ("", text(1000)), (text(1001),), {"name": 40, **AGENT}),
    Limit("organizations", "/agents", "model", ("gpt-4", "gpt-3.5-turbo", "claude-3"), ("", "gpt-of-nobody"),
          {"name": 40, **AGENT}),
    Limit("organizations", "/sessions", "name", ("n", text(255)), ("", text(256)), SESSION),
    Limit("organizations", "/sessions", "starting_prompt", ("p", text(65_535)), ("", text(65_536)), SESSION),
    Limit("organizations", "/sessions", "waiting_timeout_seconds", (0, 86_400), (-1, 86_401), SESSION),
    Limit("organizations", "/sessions", "metadata", ({"m": "x" * 66_552},), ({"m": "x" * 66_553}, [], "x"), SESSION),
]  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Both contracts, and things in a space."""

    apis: dict[str, Api]
    space: str
    session: str

    async def ask(self, contract: str, method: str, path: str, body: Any = None) -> Any:
        return await self.apis[contract].ask(method, path.format(space=self.space, session=self.session), body)


@pytest.fixture
async def place(spaces: Api, organizations: Api, space: str, path: str) -> Place:
    return Place({"spaces": spaces, "organizations": organizations}, space, path.rpartition("/")[2])


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.contract} {limit.path} {limit.field}")
async def test_a_value_at_its_limit_is_taken_and_one_beyond_is_400_and_named(place: Place, limit: Limit):
    for values, status in ((limit.bad, 400), (limit.good, 200 if limit.contract == "spaces" else 201)):
        for value in values:
            rest = {key: name(given) if isinstance(given, int) else given for key, given in (limit.rest or {}).items()}
            answer = await place.ask(limit.contract, "POST", limit.path, {**rest, limit.field: value})
            assert answer.status_code == status, (str(value)[:40], answer.text[:300])
            if status == 400:
                (detail, *_) = error_of(answer, 400, "BAD_REQUEST")["error"]["details"]
                assert {"id": "name"}.get(detail["field"], detail["field"]).split(".")[0] in {limit.field, "secrets"}


NOBODY = "6b1f3c52-8d1e-4b0a-9c39-0d5a7a3f6e11"
UNKNOWN = [
    *(("spaces", method, f"/spaces/nosuch{more}", body) for method, more, body in (
        ("GET", "", None), ("PUT", "", {"description": "x"}), ("DELETE", "", None), ("GET", "/secrets", None),
        ("POST", "/secrets", {"key_name": "A", **SECRET}), ("GET", "/agents", None), ("GET", "/agents/running", None),
        ("POST", "/agents", {"name": "a", **CODE}), ("POST", "/build", None), ("GET", "/build/latest", None),
    )),
    ("spaces", "POST", "/sessions", {"space": "nosuch"}),
    ("spaces", "PUT", "/sessions/{session}", {"space": "nosuch"}),
    ("spaces", "POST", "/sessions/{session}/remix", {"space": "nosuch"}),
    ("spaces", "POST", "/service-accounts", {"user": "someone", **ACCOUNT, "space": "nosuch"}),
    ("organizations", "POST", "/agents", {"name": "a", **AGENT, "namespace": "nosuch"}),
    ("organizations", "POST", "/sessions", {**SESSION, "namespace": "nosuch"}),
    *(("spaces", method, f"/spaces/{{space}}/agents/nosuch{more}", body) for method, more, body in (
        ("GET", "", None), ("PUT", "", {"purpose": "x"}), ("DELETE", "", None), ("GET", "/logs", None),
        ("PATCH", "/status", {"status": "active"}), ("POST", "/deploy", None), ("POST", "/stop", None),
    )),
    *(("organizations", method, f"/agents/{who}", {"description": "x"} if method == "PUT" else None)
      for who in ("nosuch", NOBODY) for method in ("GET", "PUT", "DELETE")),
    *((contract, method, f"/roles/{who}", None) for contract in ("spaces", "organizations")
      for who in ("nosuch", NOBODY) for method in ("GET", "DELETE")),
    ("spaces", "POST", "/role-bindings", {"subject": "admin", "role_ref": "nosuch"}),
    ("spaces", "POST", "/role-bindings", {"subject": "nosuch", "role_ref": "developer"}),
    ("spaces", "POST", "/role-bindings", {"subject": "admin", "role_ref": "developer", "space": "nosuch"}),
    ("organizations", "POST", "/role-bindings", {"name": "b", **BINDING, "role_ref": {"name": "nosuch"}}),
    *(("organizations", "POST", "/role-bindings", {"name": "b", **BINDING, "subjects": [subject]}) for subject in (
        {"kind": "User", "name": "nosuch"}, {"kind": "ServiceAccount", "name": NOBODY},
        {"kind": "Group", "name": "nosuch"}, {"kind": "User", "name": "admin", "namespace": "nosuch"},
    )),
    *((contract, method, f"/role-bindings/{who}", None) for contract in ("spaces", "organizations")
      for who in ("nosuch", NOBODY) for method in ("GET", "DELETE")),
    *((contract, method, f"/service-accounts/{who}{more}", body) for contract in ("spaces", "organizations")
      for who in ("nosuch", NOBODY) for method, more, body in (
        ("GET", "", None), ("PUT", "", {"description": "x"}), ("DELETE", "", None),
        ("PUT", "/password", {"current_password": PASSWORD, "new_password": PASSWORD}),
    )),
    *(("spaces", method, "/spaces/{space}/secrets/NOSUCH", body) for method, body in (
        ("GET", None), ("PUT", SECRET), ("DELETE", None),
    )),
    ("spaces", "GET", f"/spaces/{{space}}/build/build-{NOBODY}", None),
]  # fmt: skip


@pytest.mark.parametrize(("contract", "method", "path", "body"), UNKNOWN, ids=lambda given: str(given)[:60])
async def test_an_unknown_space_agent_role_or_subject_is_404(
    place: Place, contract: str, method: str, path: str, body: Any
):
    error_of(await place.ask(contract, method, path, body), 404, "NOT_FOUND")


async def made(place: Place) -> dict[str, Any]:
    """One of everything, by the path that names it: what makes it."""
    fresh = name(20)
    given = {
        ("spaces", "/spaces"): {"name": fresh},
        ("spaces", "/spaces/{space}/secrets"): {"key_name": f"K_{fresh}", **SECRET},
        ("spaces", "/spaces/{space}/agents"): {"name": fresh, **CODE},
        ("spaces", "/service-accounts"): {"user": fresh, **ACCOUNT},
        ("spaces", "/roles"): {"name": fresh, **ROLE},
        ("spaces", "/role-bindings"): {"subject": fresh, "role_ref": fresh},
        ("organizations", "/role-bindings"): {"name": fresh, **BINDING, "subjects": [{"kind": "User", "name": fresh}]},
        ("organizations", "/agents"): {"name": fresh, **AGENT},
    }
    for (contract, path), body in given.items():
        answer = await place.ask(contract, "POST", path, body)
        assert answer.status_code == (200 if contract == "spaces" else 201), answer.text
    return given


async def test_a_name_that_is_taken_is_409_in_any_case(place: Place):
    for (contract, path), body in (await made(place)).items():
        error_of(await place.ask(contract, "POST", path, body), 409, "CONFLICT")
        louder = {key: value.upper() if key in {"name", "user"} else value for key, value in body.items()}
        error_of(await place.ask(contract, "POST", path, louder), 409, "CONFLICT")


async def test_put_of_nothing_is_400(place: Place):
    fresh = (await made(place))["spaces", "/spaces"]["name"]
    paths = [
        ("spaces", f"/spaces/{fresh}"),
        ("spaces", f"/spaces/{{space}}/secrets/K_{fresh}"),
        ("spaces", f"/spaces/{{space}}/agents/{fresh}"),
        ("spaces", "/sessions/{session}"),
        ("spaces", "/sessions/{session}/state"),
        ("organizations", f"/agents/{fresh}"),
        ("organizations", "/sessions/{session}"),
        ("organizations", "/sessions/{session}/state"),
        *((contract, f"/service-accounts/{fresh}{more}")
          for contract in ("spaces", "organizations") for more in ("", "/password")),
    ]  # fmt: skip
    for contract, path in paths:
        for body in ({}, {"unknown": 1}):
            error_of(await place.ask(contract, "PUT", path, body), 400, "BAD_REQUEST")
    error_of(await place.ask("spaces", "PATCH", f"/spaces/{{space}}/agents/{fresh}/status", {}), 400, "BAD_REQUEST")


async def test_what_is_in_use_is_not_deleted(place: Place):
    """A space by its agents and sessions, a role by its bindings, an account by the agents it owns."""
    fresh = (await made(place))["spaces", "/spaces"]["name"]
    refusal = error_of(await place.ask("spaces", "DELETE", "/spaces/{space}"), 409, "CONFLICT")["message"]
    assert "1 agents" in refusal
    assert "1 sessions" in refusal
    error_of(await place.ask("spaces", "DELETE", f"/roles/{fresh}"), 409, "CONFLICT")
    async with await member(place.apis["spaces"], "developer", place.space) as owner:
        me = (await owner.get("/auth/me")).json()["user"]
        url = f"{owner.served.url}/agents/api/v0/agents"
        assert (await owner.http.post(url, json={"name": f"a{fresh}"})).status_code == 200
        error_of(await place.ask("spaces", "DELETE", f"/service-accounts/{me}"), 409, "CONFLICT")


async def test_an_agent_that_a_session_has_goes_and_the_session_stays(place: Place):
    """Nobody is shown it any more, and no new session is made with it."""
    agent = (await place.ask("organizations", "POST", "/agents", {"name": name(20), **AGENT})).json()
    body = {**SESSION, "agent_ids": [agent["id"]]}
    session = (await place.ask("organizations", "POST", "/sessions", body)).json()
    assert (await place.ask("organizations", "DELETE", f"/agents/{agent['id']}")).status_code == 204
    shown = await place.ask("organizations", "GET", f"/sessions/{session['id']}")
    assert (shown.status_code, shown.json()["agents"]) == (200, [])
    error_of(await place.ask("organizations", "POST", "/sessions", body), 400, "BAD_REQUEST")


async def test_a_session_is_not_moved_into_a_space_without_the_right_to_make_one_there(place: Place):
    """403 where the space is seen, 404 where it is not; either way it stays where it was."""
    seen, hidden = name(20), name(20)
    for there in (seen, hidden):
        await place.ask("spaces", "POST", "/spaces", {"name": there})
    looks = {"resources": ["sessions", "spaces"], "verbs": ["get", "list"]}
    await place.ask("spaces", "POST", "/roles", {"name": seen, "rules": [looks]})
    async with await member(place.apis["spaces"], "developer", place.space) as user:
        me = (await user.get("/auth/me")).json()["user"]
        await place.ask("spaces", "POST", "/role-bindings", {"subject": me, "role_ref": seen, "space": seen})
        path = f"/sessions/{place.session}"
        error_of(await user.ask("PUT", path, {"space": seen}), 403, "FORBIDDEN")
        error_of(await user.ask("PUT", path, {"space": hidden}), 404, "NOT_FOUND")
        error_of(await user.ask("POST", f"{path}/remix", {"space": seen}), 403, "FORBIDDEN")
        assert (await user.get(path)).json()["space"] == place.space
