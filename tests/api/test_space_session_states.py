"""Where sessions of the contract spaces may go, and what is made of them; operators do not run here."""

import asyncio
import uuid

import pytest
from sqlalchemy import func, select

from asking import Api, error_of
from raworc.ids import new_id
from raworc.services import progress
from raworc.services.progress import ResponseChanged, StateChanged
from raworc.store.database import Database
from raworc.store.schema import audit, sessions
from spaced import FIELDS, begun, id_of, made_space, member, opened, stand, state_of

pytestmark = pytest.mark.anyio


# ── states ────────────────────────────────────────────────────────────────────────────────────────────
CORE = {
    "INIT": "init",
    "IDLE": "idle",
    "BUSY": "busy",
    "PAUSED": "paused",
    "SUSPENDED": "slept",
    "ERROR": "error",
    "TERMINATED": "terminated",
}
LEGAL = {  # from: by hand to; besides, everything but TERMINATED may be terminated
    "INIT": {"SUSPENDED"},
    "IDLE": {"PAUSED", "SUSPENDED"},
    "BUSY": {"PAUSED", "SUSPENDED"},
    "PAUSED": {"IDLE", "SUSPENDED"},
    "SUSPENDED": {"IDLE"},
    "ERROR": {"IDLE", "SUSPENDED"},
    "TERMINATED": set(),
}
VERBS = {"pause": "PAUSED", "suspend": "SUSPENDED", "resume": "IDLE"}


@pytest.mark.parametrize("begin", LEGAL)
async def test_every_move_is_as_the_table_says(spaces: Api, begin: str, db: Database):
    for wanted in CORE:
        path = f"/sessions/{(await begun(spaces))['id']}"
        await stand(db, path, StateChanged(CORE[begin]), desired=None)  # pyright: ignore[reportArgumentType]
        legal = wanted in LEGAL[begin] or (wanted == "TERMINATED" and begin != "TERMINATED")
        answer = await spaces.ask("PUT", f"{path}/state", {"state": wanted, "container_id": "x"})
        assert answer.status_code == (200 if legal else 409), (begin, wanted, answer.text)
        if not legal:
            assert begin in answer.json()["message"].upper()
            assert await state_of(spaces, path) == begin
        else:
            awake = "INIT" if wanted == "IDLE" and begin != "PAUSED" else wanted
            assert answer.json()["state"] == awake
            assert set(answer.json()) == FIELDS
    for verb, wanted in VERBS.items():
        path = f"/sessions/{(await begun(spaces))['id']}"
        await stand(db, path, StateChanged(CORE[begin]), desired=None)  # pyright: ignore[reportArgumentType]
        answer = await spaces.ask("POST", f"{path}/{verb}")
        assert answer.status_code == (200 if wanted in LEGAL[begin] else 409), (begin, verb)


async def test_a_word_that_is_no_state_is_refused(spaces: Api, path: str):
    for body in ({"state": "idle"}, {"state": "READY"}, {"state": None}, {}):
        error_of(await spaces.ask("PUT", f"{path}/state", body), 400, "BAD_REQUEST")


async def test_of_two_pauses_at_once_one_is_a_conflict(spaces: Api, path: str, db: Database):
    await opened(db, path)
    answers = await asyncio.gather(*(spaces.ask("POST", f"{path}/pause") for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    async with db.reading() as conn:
        wanted = select(audit.c.verb, audit.c.details).where(audit.c.name == str(id_of(path)))
        rows = (await conn.execute(wanted.where(audit.c.verb == "update-state"))).all()
    assert [row.details for row in rows] == [{"state": "PAUSED"}]


async def test_a_pause_is_asked_for_once_under_its_key(spaces: Api, path: str, db: Database):
    await opened(db, path)
    key = {"headers": {"Idempotency-Key": new_id().hex}}
    answers = [await spaces.ask("POST", f"{path}/pause", **key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_messages_wait_in_a_paused_session_and_wake_a_suspended_one(spaces: Api, path: str, db: Database):
    await opened(db, path)
    await spaces.ask("POST", f"{path}/pause")
    await spaces.ask("POST", f"{path}/messages", {"content": "x"})
    assert await state_of(spaces, path) == "PAUSED"
    assert (await spaces.ask("POST", f"{path}/resume")).json()["state"] == "BUSY"
    await spaces.ask("POST", f"{path}/suspend")
    assert await state_of(spaces, path) == "SUSPENDED"
    told = (await spaces.get(f"{path}/messages")).json()[-1]
    assert told["content"] == "This message was not answered: the session was suspended first"
    await spaces.ask("POST", f"{path}/messages", {"content": "y"})
    assert await state_of(spaces, path) == "INIT"
    async with db.reading() as conn:
        assert await conn.scalar(select(sessions.c.desired).where(sessions.c.id == id_of(path))) == "idle"


async def test_who_may_not_delete_may_not_terminate_by_a_state(spaces: Api, path: str, space: str, db: Database):
    await opened(db, path)
    async with await member(spaces, "developer", space) as user:
        error_of(await user.ask("PUT", f"{path}/state", {"state": "TERMINATED"}), 403, "FORBIDDEN")
        assert (await user.ask("PUT", f"{path}/state", {"state": "PAUSED"})).status_code == 200
    reason = {"state": "TERMINATED", "termination_reason": "enough"}
    assert (await spaces.ask("PUT", f"{path}/state", reason)).json()["termination_reason"] == "enough"


async def test_a_message_and_an_end_of_a_turn_at_once_keep_it_paused(spaces: Api, path: str, db: Database):
    """What an operator writes about its turn does not undo a pause."""
    await opened(db, path)
    worker, epoch = new_id(), 7
    message = (await spaces.ask("POST", f"{path}/messages", {"content": "x"})).json()
    await stand(db, path, held_by=worker, hold_epoch=epoch)
    turn_id, fence = uuid.UUID(message["id"]), progress.Fence(worker, epoch)
    async with db.transaction() as conn:
        taken = [ResponseChanged(turn_id, "processing"), StateChanged("busy")]
        await progress.write(conn, id_of(path), taken, fence=fence)
    await spaces.ask("POST", f"{path}/pause")
    async with db.transaction() as conn:
        await progress.write(
            conn, id_of(path), [ResponseChanged(turn_id, "completed"), StateChanged("idle")], fence=fence
        )
    assert await state_of(spaces, path) == "PAUSED"


# ── remixes ───────────────────────────────────────────────────────────────────────────────────────────
async def test_a_remix_names_its_parent_and_belongs_where_it_is_wished(spaces: Api, path: str, db: Database):
    there = await made_space(spaces)
    await spaces.ask("PUT", path, {"metadata": {"a": 1}})
    made = (await spaces.ask("POST", f"{path}/remix", {"space": there})).json()
    assert set(made) == FIELDS | {"parent_session"}
    assert (made["space"], made["state"], made["metadata"]) == (there, "INIT", {"a": 1})
    assert {made["parent_session"], made["parent_session_id"]} == {str(id_of(path))}
    async with db.reading() as conn:
        row = (await conn.execute(select(sessions).where(sessions.c.id == uuid.UUID(made["id"])))).one()
    assert (row.copy_of, row.copy_code) == (id_of(path), True)
    assert (await spaces.ask("POST", f"{path}/remix")).json()["space"] != there


async def test_a_refused_remix_makes_nothing(spaces: Api, path: str, space: str, db: Database):
    there = await made_space(spaces)

    async def known() -> int:
        async with db.reading() as conn:
            return await conn.scalar(select(func.count()).select_from(sessions)) or 0

    before = await known()
    async with await member(spaces, "developer", space) as user:
        error_of(await user.ask("POST", f"{path}/remix", {"space": there}), 404, "NOT_FOUND")
    error_of(await spaces.ask("POST", f"{path}/remix", {"space": "nosuch"}), 404, "NOT_FOUND")
    error_of(await spaces.ask("POST", f"{path}/remix", {"metadata": {"a": "x" * 66_560}}), 400, "BAD_REQUEST")
    await spaces.ask("DELETE", path)
    error_of(await spaces.ask("POST", f"{path}/remix"), 409, "CONFLICT")
    assert await known() == before
