"""Agents as the document lists them: every field, every filter, every rule about their values."""

import asyncio
import re
import uuid
from typing import Any

import pytest

from asking import Api, error_of

pytestmark = pytest.mark.anyio

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def new_name() -> str:
    return f"agent-{uuid.uuid4().hex[:12]}"


async def test_a_new_agent_has_every_documented_field_and_its_default(admin: Api):
    name = new_name()
    agent = await admin.made(name=name)

    assert TIME.fullmatch(agent.pop("created_at"))
    assert agent.pop("last_activity_at") is None or True
    assert agent == {
        "name": name,
        "created_by": "admin",
        "state": "init",
        "description": None,
        "parent_agent_name": None,
        "metadata": {},
        "tags": [],
        "is_published": False,
        "published_at": None,
        "published_by": None,
        "publish_permissions": {"code": True, "secrets": True, "content": True},
        "idle_timeout_seconds": 300,
        "busy_timeout_seconds": 3600,
        "idle_from": None,
        "busy_from": None,
        "context_cutoff_at": None,
        "space": "default",
        "model": None,
        "max_tokens": None,
        "network": "none",
        "limits": {"memory_mb": 1024, "cpus": 1, "pids": 256, "disk_mb": 2048},
        "instructions": None,
        "setup": None,
        "tools": [],
        "guardrails": [],
        "knowledge_bases": [],
    }


async def test_a_new_agent_keeps_what_it_was_given(admin: Api):
    given: dict[str, Any] = {
        "description": "Does things",
        "metadata": {"a": [1, 2.5, None, {"b": "ü"}]},
        "tags": ["Prod", " team "],
        "instructions": "Be brief",
        "setup": "pip install x",
        "idle_timeout_seconds": 60,
        "busy_timeout_seconds": 120.0,
        "model": "scripted",
        "max_tokens": 1000,
        "limits": {"memory_mb": 512, "cpus": 0.5},
        "tools": ["bash", {"type": "unheard of", "x": [1]}, None],
        "guardrails": [{"type": "block"}],
        "knowledge_bases": [{"name": "faq", "text": "ü"}, 5],
    }
    agent = await admin.made(**given)

    expected = given | {
        "tags": ["prod", "team"],
        "busy_timeout_seconds": 120,
        "limits": {"memory_mb": 512, "cpus": 0.5, "pids": 256, "disk_mb": 2048},
    }
    assert {key: agent[key] for key in given} == expected
    assert (await admin.get(f"/agents/{agent['name']}")).json() == agent


async def test_secrets_and_prompt_are_taken_and_never_shown(admin: Api):
    agent = await admin.made(secrets={"API_KEY": "canary-7f3a"}, prompt="hello")

    shown = (await admin.get(f"/agents/{agent['name']}")).text
    assert "canary-7f3a" not in shown
    assert "secrets" not in agent
    turns = (await admin.get(f"/agents/{agent['name']}/responses")).json()
    assert [turn["input_content"] for turn in turns] == [[{"type": "text", "content": "hello"}]]


@pytest.mark.parametrize("name", ["ab", "A1", "a" * 63, "a-b", "Demo-2", "loginlogin"])
async def test_names_within_the_rule(admin: Api, name: str):
    assert (await admin.made(name=name))["name"] == name


BAD_NAMES = ["", "a", "a" * 64, "1a", "-a", "a-", "a_b", "a b", "ä1", "a\x00b", "ab\n", "a/b", "..", "\ud800ab"]


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_names_outside_the_rule_are_400_and_named(admin: Api, name: str):
    escaped = "".join(c if 32 <= ord(c) < 127 else f"\\u{ord(c):04x}" for c in name)
    answer = await admin.http.post("/agents", content=f'{{"name": "{escaped}"}}'.encode())

    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "name"


BAD_FIELDS: list[tuple[str, Any]] = [
    ("name", None),
    ("name", 5),
    ("description", 5),
    ("description", ["x"]),
    ("metadata", None),
    ("metadata", []),
    ("metadata", "x"),
    ("tags", None),
    ("tags", "prod"),
    ("tags", [1]),
    ("tags", ["a-b"]),
    ("tags", [""]),
    ("tags", ["ä"]),
    ("tags", ["a b"]),
    ("secrets", None),
    ("secrets", {"KEY": 5}),
    ("secrets", {"1KEY": "x"}),
    ("secrets", {"A=B": "x"}),
    ("secrets", {"KEY": "x" * 65_537}),
    ("instructions", 1),
    ("setup", {}),
    ("tools", "bash"),
    ("tools", {}),
    ("tools", [None] * 65),
    ("tools", ["x" * 65_536]),
    ("guardrails", ["x" * 65_536]),
    ("knowledge_bases", ["x" * 262_144]),
    ("prompt", 7),
    ("prompt", "  "),
    ("idle_timeout_seconds", 0),
    ("idle_timeout_seconds", -1),
    ("idle_timeout_seconds", 604_801),
    ("idle_timeout_seconds", 1.5),
    ("idle_timeout_seconds", "60"),
    ("idle_timeout_seconds", True),
    ("busy_timeout_seconds", 10**30),
    ("busy_timeout_seconds", [60]),
    ("model", ""),
    ("model", "m" * 201),
    ("max_tokens", 0),
    ("max_tokens", "many"),
    ("network", "open"),
    ("limits", 5),
    ("limits", {"memory_mb": 1}),
    ("limits", {"cpus": "two"}),
    ("limits", {"pids": 10**9}),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=[f"{f}={v!r:.20}" for f, v in BAD_FIELDS])
async def test_a_field_outside_its_rules_is_400_and_named(admin: Api, field: str, value: Any):
    answer = await admin.ask("POST", "/agents", {"name": new_name(), field: value})

    found = error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"]
    assert found.split(".")[0] == field


async def test_null_where_it_is_allowed_is_the_default(admin: Api):
    fields = ("description", "instructions", "setup", "prompt", "idle_timeout_seconds", "busy_timeout_seconds", "model")
    agent = await admin.made(**dict.fromkeys(fields))

    assert (agent["idle_timeout_seconds"], agent["busy_timeout_seconds"]) == (300, 3600)


async def test_unknown_fields_and_parameters_are_ignored(admin: Api):
    agent = await admin.made(nonsense={"a": 1})

    assert (await admin.get(f"/agents/{agent['name']}", _="123")).status_code == 200


async def test_a_name_that_is_taken_in_any_case_is_409(admin: Api):
    agent = await admin.made()

    answer = await admin.ask("POST", "/agents", {"name": agent["name"].upper()})

    error_of(answer, 409, "CONFLICT")


async def test_two_creates_at_once_make_one_agent(admin: Api):
    for _ in range(5):
        name = new_name()
        answers = await asyncio.gather(*(admin.ask("POST", "/agents", {"name": name}) for _ in range(2)))

        assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_an_unknown_space_is_404(admin: Api):
    answer = await admin.ask("POST", "/agents", {"name": new_name(), "space": "nowhere"})

    error_of(answer, 404, "NOT_FOUND")


@pytest.mark.parametrize("name", ["nosuch", "a", "x" * 500, "%20", "a%2Fb", "..%2f..", "ä", "%ff%fe", "{name}", "'--"])
async def test_an_agent_that_is_not_there_is_404(admin: Api, name: str):
    error_of(await admin.http.get(f"{admin.served.url}/api/v0/agents/{name}"), 404, "NOT_FOUND")


async def test_another_accounts_agent_is_403_and_not_listed(admin: Api, other: Api):
    theirs = await admin.made(secrets={"KEY": "x"})
    path = f"/agents/{theirs['name']}"

    for method, below, body in [
        ("GET", "", None),
        ("PUT", "", {"description": "mine"}),
        ("DELETE", "", None),
        ("PUT", "/state", {"state": "slept"}),
        ("POST", "/busy", None),
        ("POST", "/idle", None),
        ("POST", "/sleep", None),
        ("POST", "/wake", None),
        ("POST", "/cancel", None),
        ("GET", "/responses", None),
        ("GET", "/responses/count", None),
        ("POST", "/responses", {"input": {"text": "hi"}}),
        ("GET", f"/responses/{uuid.uuid4()}", None),
        ("PUT", f"/responses/{uuid.uuid4()}", {"status": "failed"}),
        ("GET", "/events", None),
        ("GET", f"/responses/{uuid.uuid4()}/events", None),
        ("GET", "/files/list", None),
        ("GET", "/files/read/x", None),
        ("GET", "/files/metadata/x", None),
        ("DELETE", "/files/delete/x", None),
        ("GET", "/requests", None),
        ("GET", f"/responses/{uuid.uuid4()}/requests", None),
    ]:
        error_of(await other.ask(method, path + below, body), 403, "FORBIDDEN")
    names = [item["name"] for item in (await other.get("/agents", limit=100)).json()["items"]]
    assert theirs["name"] not in names


async def test_an_ordinary_account_has_agents_of_its_own_that_the_admin_sees(admin: Api, other: Api):
    mine = await other.made(instructions="secret plan")

    assert mine["created_by"] == "olive"
    assert mine["instructions"] == "secret plan"
    assert (await admin.get(f"/agents/{mine['name']}")).json() == mine
    assert (await other.ask("DELETE", f"/agents/{mine['name']}")).status_code == 200


async def test_an_update_replaces_what_is_given_and_keeps_the_rest(admin: Api):
    agent = await admin.made(description="old", metadata={"a": 1}, tags=["one"])
    path = f"/agents/{agent['name']}"

    answer = await admin.ask("PUT", path, {"description": "new", "tags": ["Two"], "idle_timeout_seconds": 42})

    expected = agent | {"description": "new", "tags": ["two"], "idle_timeout_seconds": 42}
    assert answer.json() == expected
    everything = {
        "metadata": {},
        "tags": [],
        "busy_timeout_seconds": 7,
        "instructions": "i",
        "setup": "s",
        "model": "scripted-2",
        "max_tokens": 5,
        "network": "none",
        "tools": ["bash"],
        "guardrails": [5],
        "knowledge_bases": [{}],
    }
    answer = await admin.ask("PUT", path, {**everything, "limits": {"pids": 100}})
    assert answer.json() == expected | everything | {"limits": agent["limits"] | {"pids": 100}}
    assert (await admin.get(path)).json() == answer.json()


async def test_null_on_update_keeps(admin: Api):
    agent = await admin.made(description="old", metadata={"a": 1}, tags=["one"])

    fields = ("description", "metadata", "tags", "idle_timeout_seconds", "busy_timeout_seconds")
    answer = await admin.ask("PUT", f"/agents/{agent['name']}", {**dict.fromkeys(fields), "setup": "s"})

    assert answer.json() == agent | {"setup": "s"}


@pytest.mark.parametrize("body", [None, {}, {"description": None}, {"nonsense": 1}, {"name": "other"}])
async def test_an_update_of_nothing_is_400(admin: Api, body: Any):
    agent = await admin.made()

    error_of(await admin.ask("PUT", f"/agents/{agent['name']}", body), 400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("field", "value"),
    [(f, v) for f, v in BAD_FIELDS if v is not None and f not in {"name", "secrets", "prompt"}],
    ids=lambda value: f"{value!r:.20}",
)
async def test_an_update_outside_the_rules_is_400_and_named(admin: Api, field: str, value: Any):
    agent = await admin.made()

    answer = await admin.ask("PUT", f"/agents/{agent['name']}", {field: value})

    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"].split(".")[0] == field
    assert (await admin.get(f"/agents/{agent['name']}")).json() == agent


async def test_delete_answers_200_without_a_body_and_frees_the_name(admin: Api):
    agent = await admin.made()
    path = f"/agents/{agent['name']}"

    answer = await admin.ask("DELETE", path)

    assert (answer.status_code, answer.content) == (200, b"")
    error_of(await admin.get(path), 404, "NOT_FOUND")
    error_of(await admin.ask("DELETE", path), 404, "NOT_FOUND")
    assert (await admin.made(name=agent["name"]))["state"] == "init"


async def test_names_are_found_in_any_case(admin: Api):
    agent = await admin.made()

    assert (await admin.get(f"/agents/{agent['name'].upper()}")).json() == agent
