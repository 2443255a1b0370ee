"""Service accounts, roles and role bindings, as both older contracts show them."""

import asyncio
import uuid
from typing import Any

import pytest

from asking import PASSWORD, Api, client_of, error_of
from raworc.store.database import Database
from raworc.store.schema import spaces as space_table

pytestmark = pytest.mark.anyio

READS = [{"resources": ["agents"], "verbs": ["get", "list"]}]


def fresh(kind: str = "thing") -> str:
    return f"{kind}-{uuid.uuid4().hex[:12]}"


def under(contract: str, api: Api) -> Any:
    return client_of(api.served, api.http.headers["authorization"].removeprefix("Bearer "), contract)


async def space(db: Database) -> str:
    name = fresh("space")
    async with db.transaction() as conn:
        await conn.execute(space_table.insert().values(name=name))
    return name


async def joined(spaces: Api, contract: str, *bindings: dict[str, Any]) -> Any:
    """A client of a new account with these bindings."""
    name = fresh("user")
    made = await spaces.ask("POST", "/service-accounts", {"user": name, "pass": PASSWORD})
    assert made.status_code == 200, made.text
    for binding in bindings:
        answer = await spaces.ask("POST", "/role-bindings", {"subject": name, **binding})
        assert answer.status_code == 200, answer.text
    login = {"user": name, "pass": PASSWORD}
    token = (await spaces.http.post(f"{spaces.served.url}/api/v0/auth/login", json=login)).json()["token"]
    return client_of(spaces.served, token, contract)


# ── accounts ─────────────────────────────────────────────────────────────────────────────────────────
async def test_a_service_account_is_made_shown_changed_and_removed_in_both_contracts(
    spaces: Api, organizations: Api, db: Database
):
    place = await space(db)
    for api, word, made, gone in ((spaces, "space", 200, 200), (organizations, "namespace", 201, 204)):
        name = fresh("user")
        answer = await api.ask("POST", "/service-accounts", {"user": name, "pass": PASSWORD, "description": "d"})
        assert answer.status_code == made
        shown = answer.json()
        fields = {"id", "user", word, "description", "active", "created_at", "updated_at", "last_login_at"}
        assert set(shown) == fields
        assert shown[word] == (None if word == "space" else "default")
        for which in (shown["id"], name, name.upper()):
            assert (await api.get(f"/service-accounts/{which}")).json() == shown
        assert shown in (await api.get("/service-accounts")).json()
        change = {word: place, "description": "e", "active": False}
        changed = (await api.ask("PUT", f"/service-accounts/{shown['id']}", change)).json()
        assert {key: changed[key] for key in change} == change
        assert (await api.ask("DELETE", f"/service-accounts/{shown['id']}")).status_code == gone
        error_of(await api.get(f"/service-accounts/{shown['id']}"), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"pass": PASSWORD}, "user"),
        ({"user": "fine"}, "pass"),
        ({"user": "fine", "pass": "short"}, "pass"),
        ({"user": "", "pass": PASSWORD}, "user"),
        ({"user": "a" * 256, "pass": PASSWORD}, "user"),
        ({"user": "a b", "pass": PASSWORD}, "user"),
        ({"user": "Authenticated", "pass": PASSWORD}, "user"),
    ],
)
async def test_an_account_outside_the_rules_is_400_and_named(organizations: Api, body: dict[str, str], field: str):
    answer = await organizations.ask("POST", "/service-accounts", body)
    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == field


async def test_names_are_of_up_to_255_characters_and_taken_once(organizations: Api):
    name = fresh("a" * 200)
    body = {"user": name, "pass": PASSWORD}
    assert (await organizations.ask("POST", "/service-accounts", body)).status_code == 201
    error_of(await organizations.ask("POST", "/service-accounts", {**body, "user": name.upper()}), 409, "CONFLICT")


async def test_a_password_route_asks_everybody_for_the_current_one(spaces: Api):
    async with await joined(spaces, "spaces") as user:
        me = (await user.get("/auth/me")).json()["user"]
        path = f"/service-accounts/{me}/password"
        wrong = {"current_password": "not-the-password", "new_password": "another-password"}
        for api in (user, spaces):
            error_of(await api.ask("PUT", path, wrong), 401, "UNAUTHORIZED")
            error_of(await api.ask("PUT", path, {"new_password": "another-password"}), 400, "BAD_REQUEST")
        answer = await user.ask("PUT", path, {"current_password": PASSWORD, "new_password": "another-password"})
        assert (answer.status_code, answer.content) == (200, b"")
        error_of(await user.get("/auth/me"), 401, "UNAUTHORIZED")


async def test_an_unknown_place_is_404(spaces: Api, organizations: Api):
    for api, word in ((spaces, "space"), (organizations, "namespace")):
        body = {"user": fresh(), "pass": PASSWORD, word: "nosuch"}
        error_of(await api.ask("POST", "/service-accounts", body), 404, "NOT_FOUND")
        error_of(await api.ask("PUT", "/service-accounts/admin", {word: "nosuch"}), 404, "NOT_FOUND")


# ── roles ────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_built_in_roles_are_those_of_the_document_and_stay(spaces: Api):
    found = {role["name"]: role for role in (await spaces.get("/roles")).json()}
    everything = [{"resources": ["*"], "verbs": ["*"], "scope": "global"}]
    assert found["admin"]["rules"] == everything
    assert found["developer"]["rules"] == [
        {"resources": ["sessions", "agents"], "verbs": ["create", "read", "update", "list"], "scope": "space"},
        {"resources": ["secrets"], "verbs": ["read", "list"], "scope": "space"},
    ]
    assert {"resources": ["spaces"], "verbs": ["read", "list"], "scope": "global"} in found["operator"]["rules"]
    for name in ("admin", "operator", "developer", "self-service"):
        error_of(await spaces.ask("DELETE", f"/roles/{name}"), 409, "CONFLICT")


async def test_a_role_is_taken_in_each_contracts_words(spaces: Api, organizations: Api):
    name = fresh("role")
    body = {"id": name, "description": "d", "rules": [{"apiGroups": [""], **READS[0]}]}
    made = (await spaces.ask("POST", "/roles", body)).json()
    assert (made["name"], made["rules"]) == (name, [{**READS[0], "scope": "space"}])
    other = await organizations.ask("POST", "/roles", {"name": fresh("role"), "rules": READS})
    assert other.status_code == 201
    assert other.json()["rules"] == [{"api_groups": ["api"], **READS[0]}]
    assert (await organizations.get(f"/roles/{made['id']}")).json()["rules"] == [{"api_groups": [""], **READS[0]}]
    assert (await spaces.get(f"/roles/{name.upper()}")).json() == made
    error_of(await spaces.ask("POST", "/roles", {"name": name.upper(), "rules": []}), 409, "CONFLICT")
    assert (await spaces.ask("DELETE", f"/roles/{name}")).status_code == 200
    assert (await organizations.ask("DELETE", f"/roles/{other.json()['id']}")).status_code == 204


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rules": READS}, "name"),
        ({"name": "a b", "rules": READS}, "name"),
        ({"name": str(uuid.uuid4()), "rules": READS}, "name"),
        ({"name": "fine"}, "rules"),
        ({"name": "fine", "rules": [{"resources": ["agentz"], "verbs": ["get"]}]}, "rules.0.resources"),
        ({"name": "fine", "rules": [{"resources": ["agents"], "verbs": ["exec"]}]}, "rules.0.verbs"),
        ({"name": "fine", "rules": [{"resources": [], "verbs": ["get"]}]}, "rules.0.resources"),
        ({"name": "fine", "rules": READS * 65}, "rules"),
    ],
)
async def test_a_role_outside_the_rules_is_400_and_named(spaces: Api, body: dict[str, Any], field: str):
    answer = await spaces.ask("POST", "/roles", body)
    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] in {field, "id"}


async def test_a_role_that_is_bound_stays(spaces: Api):
    name = fresh("role")
    await spaces.ask("POST", "/roles", {"name": name, "rules": READS})
    made = (await spaces.ask("POST", "/role-bindings", {"subject": "admin", "role_ref": name})).json()
    error_of(await spaces.ask("DELETE", f"/roles/{name}"), 409, "CONFLICT")
    await spaces.ask("DELETE", f"/role-bindings/{made['id']}")
    assert (await spaces.ask("DELETE", f"/roles/{name}")).status_code == 200


async def test_binding_a_role_and_deleting_it_do_not_meet(spaces: Api):
    for _ in range(3):
        name = fresh("role")
        await spaces.ask("POST", "/roles", {"name": name, "rules": READS})
        bound, deleted = await asyncio.gather(
            spaces.ask("POST", "/role-bindings", {"subject": "admin", "role_ref": name}),
            spaces.ask("DELETE", f"/roles/{name}"),
        )
        assert (bound.status_code, deleted.status_code) in {(200, 409), (404, 200)}


# ── bindings ─────────────────────────────────────────────────────────────────────────────────────────
async def test_what_is_bound_in_one_contract_is_seen_in_the_other(spaces: Api, organizations: Api, db: Database):
    place, first, second = await space(db), fresh("user"), fresh("user")
    for name in (first, second):
        await spaces.ask("POST", "/service-accounts", {"user": name, "pass": PASSWORD})
    name = fresh("binding")
    subjects = [
        {"kind": "User", "name": first, "namespace": place},
        {"kind": "ServiceAccount", "name": second, "namespace": None},
        {"kind": "Group", "name": "authenticated", "namespace": place},
    ]
    body = {"name": name, "role_ref": {"api_group": "rbac", "kind": "Role", "name": "developer"}, "subjects": subjects}
    answer = await organizations.ask("POST", "/role-bindings", body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert set(made) == {"id", "name", "role_ref", "subjects", "created_at", "updated_at"}
    assert (made["role_ref"], sorted(made["subjects"], key=str)) == (body["role_ref"], sorted(subjects, key=str))
    for which in (made["id"], name):
        assert (await organizations.get(f"/role-bindings/{which}")).json()["id"] == made["id"]
    error_of(await organizations.ask("POST", "/role-bindings", {**body, "name": name.upper()}), 409, "CONFLICT")

    rows = [row for row in (await spaces.get("/role-bindings")).json() if row["subject"] in {first, second}]
    assert {(row["subject"], row["role_ref"], row["space"]) for row in rows} == {
        (first, "developer", place),
        (second, "developer", None),
    }
    await spaces.ask("DELETE", f"/role-bindings/{rows[0]['id']}")
    left = (await organizations.get(f"/role-bindings/{made['id']}")).json()
    assert len(left["subjects"]) == 2
    assert (await organizations.ask("DELETE", f"/role-bindings/{made['id']}")).status_code == 204
    error_of(await spaces.get(f"/role-bindings/{rows[1]['id']}"), 404, "NOT_FOUND")


async def test_what_is_there_from_the_start_has_names_as_ids(spaces: Api, organizations: Api):
    found = {row["id"]: row for row in (await spaces.get("/role-bindings")).json()}
    assert (found["admin-binding"]["subject"], found["admin-binding"]["space"]) == ("admin", None)
    assert (found["everyone"]["subject"], found["everyone"]["role_ref"]) == ("authenticated", "self-service")
    shown = (await organizations.get("/role-bindings/everyone")).json()
    assert shown["subjects"] == [{"kind": "Group", "name": "authenticated", "namespace": None}]


async def test_the_same_twice_is_409_and_what_is_not_there_404(spaces: Api):
    body = {"subject": "admin", "role_ref": "developer", "space": "default"}
    made = (await spaces.ask("POST", "/role-bindings", body)).json()
    error_of(await spaces.ask("POST", "/role-bindings", body), 409, "CONFLICT")
    for field in ("subject", "role_ref", "space"):
        error_of(await spaces.ask("POST", "/role-bindings", {**body, field: "nosuch"}), 404, "NOT_FOUND")
    assert (await spaces.ask("DELETE", f"/role-bindings/{made['id']}")).status_code == 200


@pytest.mark.parametrize("subjects", [[], [{"kind": "Robot", "name": "admin"}], [{"name": "admin"}], "admin"])
async def test_subjects_outside_the_rules_are_400(organizations: Api, subjects: Any):
    body = {"name": fresh(), "role_ref": {"name": "developer"}, "subjects": subjects}
    error_of(await organizations.ask("POST", "/role-bindings", body), 400, "BAD_REQUEST")


# ── nobody gains what the one who gives it lacks ─────────────────────────────────────────────────────
async def test_who_may_bind_hands_out_no_more_than_he_holds(spaces: Api, db: Database):
    place, other = await space(db), await space(db)
    binder = fresh("role")
    rules = [{"resources": ["role-bindings"], "verbs": ["*"]}, *READS, {"resources": ["spaces"], "verbs": ["read"]}]
    await spaces.ask("POST", "/roles", {"name": binder, "rules": rules})
    async with await joined(spaces, "spaces", {"role_ref": binder, "space": place}) as user:
        me = (await user.get("/auth/me")).json()["user"]
        reads = fresh("role")
        await spaces.ask("POST", "/roles", {"name": reads, "rules": READS})
        good = {"subject": me, "role_ref": reads, "space": place}
        assert (await user.ask("POST", "/role-bindings", good)).status_code == 200
        for worse in ({"role_ref": "developer"}, {"role_ref": "operator"}, {"space": None}):
            error_of(await user.ask("POST", "/role-bindings", {**good, "subject": "admin", **worse}), 403, "FORBIDDEN")
        error_of(await user.ask("POST", "/role-bindings", {**good, "space": other}), 404, "NOT_FOUND")
        theirs = (
            await spaces.ask("POST", "/role-bindings", {**good, "subject": "admin", "role_ref": "developer"})
        ).json()["id"]
        error_of(await user.ask("DELETE", f"/role-bindings/{theirs}"), 403, "FORBIDDEN")
        error_of(await user.ask("DELETE", "/role-bindings/everyone"), 404, "NOT_FOUND")


async def test_who_may_make_roles_puts_no_more_into_them_than_he_holds(spaces: Api):
    maker = fresh("role")
    rules = [{"resources": ["roles"], "verbs": ["create"]}, *READS]
    await spaces.ask("POST", "/roles", {"name": maker, "rules": rules})
    async with await joined(spaces, "spaces", {"role_ref": maker}) as user:
        assert (await user.ask("POST", "/roles", {"name": fresh("role"), "rules": READS})).status_code == 200
        for more in (["*"], ["get", "update"]):
            worse = {"name": fresh("role"), "rules": [{"resources": ["agents"], "verbs": more}]}
            error_of(await user.ask("POST", "/roles", worse), 403, "FORBIDDEN")


async def test_the_last_administrator_stays_bound(spaces: Api):
    error_of(await spaces.ask("DELETE", "/role-bindings/admin-binding"), 409, "CONFLICT")
    async with await joined(spaces, "spaces", {"role_ref": "admin"}):
        assert (await spaces.get("/role-bindings/admin-binding")).status_code == 200


async def test_two_administrators_who_unbind_each_other_leave_one(spaces: Api):
    async with await joined(spaces, "spaces", {"role_ref": "admin"}) as other:
        me = (await other.get("/auth/me")).json()["user"]
        rows = {row["subject"]: row["id"] for row in (await spaces.get("/role-bindings")).json()}
        answers = await asyncio.gather(
            spaces.ask("DELETE", f"/role-bindings/{rows[me]}"), other.ask("DELETE", "/role-bindings/admin-binding")
        )
        assert sorted(answer.status_code for answer in answers) in ([200, 403], [200, 404])
        winner = spaces if answers[0].status_code == 200 else other
        restored = {"subject": "admin" if winner is other else me, "role_ref": "admin"}
        assert (await winner.ask("POST", "/role-bindings", restored)).status_code == 200


async def test_a_right_that_is_taken_is_gone_with_the_next_request(spaces: Api, db: Database):
    place = await space(db)
    async with await joined(spaces, "spaces", {"role_ref": "operator", "space": place}) as user:
        me = (await user.get("/auth/me")).json()["user"]
        assert (await user.get(f"/spaces/{place}")).status_code == 200
        row = next(row for row in (await spaces.get("/role-bindings")).json() if row["subject"] == me)
        await spaces.ask("DELETE", f"/role-bindings/{row['id']}")
        error_of(await user.get(f"/spaces/{place}"), 404, "NOT_FOUND")
