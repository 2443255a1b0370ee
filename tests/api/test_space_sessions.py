"""Sessions of the contract spaces and their messages, over the wire; operators do not run here."""

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from asking import Api, error_of
from raworc.ids import new_id
from raworc.services.progress import ResponseChanged
from raworc.store.database import Database
from raworc.store.schema import audit, sessions, shared_sessions, turns
from spaced import FIELDS, MESSAGE_FIELDS, answered, begun, id_of, made_space, member, opened, stand, state_of

pytestmark = pytest.mark.anyio


async def test_a_new_session_has_exactly_the_documented_fields(spaces: Api, space: str):
    made = await begun(spaces, space=space, metadata={"a": 1}, unknown=True)
    assert set(made) == FIELDS
    assert (made["space"], made["created_by"], made["state"], made["metadata"]) == (space, "admin", "INIT", {"a": 1})
    assert uuid.UUID(made["id"]).version == 4
    never = FIELDS - {"id", "space", "created_by", "state", "created_at", "metadata"}
    assert {made[field] for field in never} == {None}
    assert (await spaces.get(f"/sessions/{made['id']}")).json() == made
    assert (await begun(spaces))["space"] == "default"


async def test_a_list_shows_the_newest_first_and_filters(spaces: Api, space: str, db: Database):
    first, second = [(await begun(spaces, space=space))["id"] for _ in range(2)]
    listed = (await spaces.get("/sessions", space=space)).json()
    assert [one["id"] for one in listed] == [second, first]
    assert set(listed[0]) == {"id", "space", "state", "created_at", "started_at", "last_activity_at"}
    await opened(db, f"/sessions/{first}")
    assert [one["id"] for one in (await spaces.get("/sessions", space=space, state="IDLE")).json()] == [first]
    assert [one["id"] for one in (await spaces.get("/sessions", space=space, state="INIT")).json()] == [second]
    assert [one["id"] for one in (await spaces.get("/sessions", space=space, limit=1, offset=1)).json()] == [first]
    await spaces.ask("POST", f"/sessions/{first}/messages", {"content": "x"})
    assert [one["id"] for one in (await spaces.get("/sessions", space=space, state="BUSY")).json()] == [first]
    error_of(await spaces.get("/sessions", state="idle"), 400, "BAD_REQUEST")
    error_of(await spaces.get("/sessions", space="nosuch"), 404, "NOT_FOUND")
    async with await member(spaces, "developer", space) as user:
        assert {one["id"] for one in (await user.get("/sessions")).json()} == {first, second}


async def test_home_sessions_of_named_agents_are_none_of_these(spaces: Api, admin: Api, db: Database):
    await admin.made()
    async with db.reading() as conn:
        home = await conn.scalar(select(sessions.c.id).where(sessions.c.kind == "home").limit(1))
    error_of(await spaces.get(f"/sessions/{home}"), 404, "NOT_FOUND")
    assert str(home) not in (await spaces.get("/sessions")).text


@pytest.mark.parametrize("which", ["x", "00000000-0000-4000-8000-000000000000", "a%0Ab"])
async def test_what_is_not_there_is_not_found(spaces: Api, which: str):
    for method, more in [("GET", ""), ("DELETE", ""), ("GET", "/messages"), ("GET", "/messages/count")]:
        error_of(await spaces.ask(method, f"/sessions/{which}{more}"), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "field"),
    [({"metadata": {"a": "x" * 66_553}}, "metadata"), ({"metadata": []}, "metadata"), ({"space": 5}, "space")],
)
async def test_fields_outside_their_rules_are_refused(spaces: Api, body: dict[str, Any], field: str):
    found = error_of(await spaces.ask("POST", "/sessions", body), 400, "BAD_REQUEST")
    assert [one["field"] for one in found["error"]["details"]] == [field]


async def test_metadata_may_have_65_kb(spaces: Api, path: str):
    metadata = {"a": "x" * 66_552}
    assert (await spaces.ask("PUT", path, {"metadata": metadata})).json()["metadata"] == metadata
    error_of(await spaces.ask("PUT", path, {}), 400, "BAD_REQUEST")
    error_of(await spaces.ask("PUT", path, {"metadata": {"a": "x" * 66_553}}), 400, "BAD_REQUEST")


async def test_a_session_moves_to_another_space_with_rights_in_both(spaces: Api, path: str, space: str, db: Database):
    there = await made_space(spaces)
    async with await member(spaces, "developer", space) as user:
        error_of(await user.ask("PUT", path, {"space": there}), 404, "NOT_FOUND")
    await opened(db, path)
    await stand(db, path, held_by=new_id(), hold_epoch=7, node="here")
    async with await member(spaces, "developer", space, there) as user:
        moved = (await user.ask("PUT", path, {"space": there})).json()
        assert (moved["space"], moved["state"]) == (there, "INIT")
    async with db.reading() as conn:
        row = (await conn.execute(select(sessions).where(sessions.c.id == id_of(path)))).one()
    assert (row.held_by, row.hold_epoch, row.desired) == (None, 8, "idle")  # its sandbox has the old space's secrets
    await spaces.ask("POST", f"{path}/messages", {"content": "x"})
    error_of(await spaces.ask("PUT", path, {"space": space}), 409, "CONFLICT")


async def test_messages_are_told_in_the_order_in_which_they_came(spaces: Api, path: str, db: Database):
    await opened(db, path)
    sent = (await spaces.ask("POST", f"{path}/messages", {"content": "one"})).json()
    assert set(sent) == MESSAGE_FIELDS
    assert (sent["role"], sent["content"], sent["session_id"]) == ("user", "one", str(id_of(path)))
    assert await state_of(spaces, path) == "BUSY"
    await spaces.ask("POST", f"{path}/messages", {"content": "two"})
    await answered(db, path, "first")
    await answered(db, path, "second")
    told = (await spaces.get(f"{path}/messages")).json()
    assert [(one["role"], one["content"]) for one in told] == [
        ("user", "one"),
        ("user", "two"),
        ("assistant", "first"),
        ("assistant", "second"),
    ]
    assert told[0] == sent
    assert {frozenset(one) for one in told} == {frozenset(MESSAGE_FIELDS)}
    assert len({one["id"] for one in told}) == 4
    assert {uuid.UUID(one["id"]).version for one in told} == {4}
    assert (await spaces.get(f"{path}/messages")).json() == told
    assert (await spaces.get(f"{path}/messages/count")).json() == {"count": 4}
    assert (await spaces.get(f"{path}/messages", limit=2)).json() == told[2:]
    assert (await spaces.get(f"{path}/messages", limit=2, offset=0)).json() == told[:2]
    assert (await spaces.get(f"{path}/messages", limit=2, offset=3)).json() == told[3:]
    error_of(await spaces.get(f"{path}/messages", limit=0), 400, "BAD_REQUEST")


@pytest.mark.parametrize("content", ["", "x" * 65_536, 5, None])
async def test_a_message_has_1_to_65535_characters(spaces: Api, path: str, content: Any):
    error_of(await spaces.ask("POST", f"{path}/messages", {"content": content}), 400, "BAD_REQUEST")
    assert (await spaces.ask("POST", f"{path}/messages", {"content": "ü" * 65_535})).status_code == 200


async def test_a_message_is_sent_once_under_its_key(spaces: Api, path: str):
    key = {"headers": {"Idempotency-Key": new_id().hex}}
    first, second = [await spaces.ask("POST", f"{path}/messages", {"content": "x"}, **key) for _ in range(2)]
    assert first.json() == second.json()
    assert (await spaces.get(f"{path}/messages/count")).json() == {"count": 1}


async def test_a_failed_message_is_answered_by_the_system(spaces: Api, path: str, db: Database):
    await opened(db, path)
    message = (await spaces.ask("POST", f"{path}/messages", {"content": "x"})).json()
    error = {"code": "turn_limit", "message": "too many"}
    await stand(db, path, ResponseChanged(uuid.UUID(message["id"]), "failed", error))
    last = (await spaces.get(f"{path}/messages")).json()[-1]
    assert (last["role"], last["content"]) == ("system", "This message was not answered: too many")


async def test_clearing_hides_all_and_keeps_what_is_in_work(spaces: Api, path: str, db: Database):
    await opened(db, path)
    for content in ("one", "two"):
        await spaces.ask("POST", f"{path}/messages", {"content": content})
    await answered(db, path, "first")
    assert (await spaces.ask("DELETE", f"{path}/messages")).json() == {"deleted": 3, "session_id": str(id_of(path))}
    assert (await spaces.get(f"{path}/messages")).json() == []
    assert (await spaces.get(f"{path}/messages/count")).json() == {"count": 0}
    async with db.reading() as conn:
        left = (await conn.execute(select(turns.c.status).where(turns.c.session_id == id_of(path)))).scalars().all()
        assert left == ["pending"]
    await answered(db, path, "second")
    assert [one["content"] for one in (await spaces.get(f"{path}/messages")).json()] == ["second"]


async def test_many_messages_are_cleared_and_paged_by_index(spaces: Api, path: str, db: Database):
    """More than one batch; a page never reads all of them."""
    column = {"session_id": id_of(path), "kind": "input", "status": "completed", "input": {"content": []}}
    rows = [{"id": new_id(), "reply_id": new_id(), **column} for _ in range(1200)]
    async with db.transaction() as conn:
        await conn.execute(insert(turns).values(rows))
        await conn.execute(update(turns).where(turns.c.session_id == id_of(path)).values(finished_at=func.now()))
    assert len((await spaces.get(f"{path}/messages")).json()) == 100
    assert len((await spaces.get(f"{path}/messages", limit=5000)).json()) == 1000
    assert (await spaces.ask("DELETE", f"{path}/messages")).json()["deleted"] == 2400
    async with db.reading() as conn:
        assert not await conn.scalar(select(func.count()).where(turns.c.session_id == id_of(path)))


async def test_a_terminated_session_stays_readable_and_takes_nothing(spaces: Api, path: str, space: str, db: Database):
    await opened(db, path)
    await spaces.ask("POST", f"{path}/messages", {"content": "x"})
    for _ in range(2):
        assert (await spaces.ask("DELETE", path)).status_code == 200
    row = (await spaces.get(path)).json()
    assert (row["state"], row["termination_reason"], row["container_id"]) == ("TERMINATED", "terminated by admin", None)
    assert row["terminated_at"]
    error_of(await spaces.ask("POST", f"{path}/messages", {"content": "x"}), 409, "CONFLICT")
    assert [one["role"] for one in (await spaces.get(f"{path}/messages")).json()] == ["user", "system"]
    error_of(await spaces.ask("PUT", path, {"space": "default"}), 409, "CONFLICT")


async def test_a_space_with_a_live_session_cannot_be_deleted(spaces: Api, path: str, space: str, db: Database):
    assert "1 sessions" in error_of(await spaces.ask("DELETE", f"/spaces/{space}"), 409, "CONFLICT")["message"]
    await spaces.ask("DELETE", path)
    error_of(await spaces.ask("DELETE", f"/spaces/{space}"), 409, "CONFLICT")  # its files are there still
    await stand(db, path, desired=None)
    assert (await spaces.ask("DELETE", f"/spaces/{space}")).status_code == 200
    error_of(await spaces.get(path), 404, "NOT_FOUND")


async def test_a_message_and_an_end_at_once_leave_nothing_open(spaces: Api, path: str, db: Database):
    await opened(db, path)
    asking = [spaces.ask("POST", f"{path}/messages", {"content": "x"}) for _ in range(3)]
    answers = await asyncio.gather(*asking, spaces.ask("DELETE", path), spaces.ask("DELETE", path))
    assert {answer.status_code for answer in answers[:3]} <= {200, 409}
    assert [answer.status_code for answer in answers[3:]] == [200, 200]
    async with db.reading() as conn:
        left = await conn.scalars(select(turns.c.status).where(turns.c.session_id == id_of(path)))
        assert set(left) <= {"cancelled"}


async def test_every_write_is_audited(spaces: Api, space: str, db: Database):
    path = f"/sessions/{(await begun(spaces, space=space))['id']}"
    await spaces.ask("PUT", path, {"metadata": {}})
    await spaces.ask("POST", f"{path}/messages", {"content": "x"})
    await spaces.ask("DELETE", f"{path}/messages")
    await spaces.ask("DELETE", path)
    async with db.reading() as conn:
        wanted = select(audit.c.verb).where(audit.c.resource == "sessions", audit.c.name == str(id_of(path)))
        verbs = list((await conn.execute(wanted)).scalars())
    assert sorted(verbs) == ["create", "create-message", "delete", "delete-messages", "update"]


async def test_what_is_deleted_is_hidden_from_both_contracts(spaces: Api, path: str, db: Database):
    async with db.transaction() as conn:
        await conn.execute(
            update(shared_sessions).where(shared_sessions.c.session_id == id_of(path)).values(deleted_at=func.now())
        )
    error_of(await spaces.get(path), 404, "NOT_FOUND")
