"""Idempotency-Key: what is sent twice is done once, whatever happens in between."""

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from asking import Api, error_of
from raworc.services.progress import ResponseChanged, SegmentAdded, StateChanged
from raworc.store.database import Database
from raworc.store.schema import kept_answers
from waiting import until
from works import Works

pytestmark = pytest.mark.anyio

HI = {"input": {"text": "hi"}}


def fresh() -> dict[str, str]:
    return {"idempotency-key": uuid.uuid4().hex}


async def count(admin: Api, name: str) -> int:
    return (await admin.get(f"/agents/{name}/responses/count")).json()["count"]


async def rows(db: Database, key: str) -> int:
    async with db.reading() as conn:
        query = select(func.count()).select_from(kept_answers).where(kept_answers.c.key == key)
        return (await conn.execute(query)).scalar_one()


async def test_the_same_key_and_body_is_answered_again_and_done_once(admin: Api):
    name, key = (await admin.made())["name"], fresh()

    first = await admin.ask("POST", f"/agents/{name}/responses", HI, headers=key)
    again = await admin.ask("POST", f"/agents/{name}/responses", HI, headers=key)
    unprefixed = await admin.http.post(f"{admin.served.url}/api/v0/agents/{name}/responses", json=HI, headers=key)

    assert first.status_code == again.status_code == 200
    assert first.content == again.content == unprefixed.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == unprefixed.headers["idempotent-replayed"] == "true"
    assert again.headers["content-type"] == "application/json"
    assert await count(admin, name) == 1


async def test_many_at_once_are_one(admin: Api):
    name, key = (await admin.made())["name"], fresh()

    answers = await asyncio.gather(
        *(admin.ask("POST", f"/agents/{name}/responses", HI, headers=key) for _ in range(12))
    )

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert await count(admin, name) == 1


async def test_agents_created_at_once_under_one_key_are_one_and_nobody_is_refused(admin: Api):
    body, key = {"name": f"agent-{uuid.uuid4().hex[:12]}", "prompt": "hi"}, fresh()

    answers = await asyncio.gather(*(admin.ask("POST", "/agents", body, headers=key) for _ in range(6)))

    assert {(answer.status_code, answer.json()["created_at"]) for answer in answers} == {
        (200, answers[0].json()["created_at"])
    }
    assert await count(admin, body["name"]) == 1


@pytest.mark.parametrize("change", ["body", "path", "action"])
async def test_another_request_under_a_used_key_is_409(admin: Api, change: str):
    name, key = (await admin.made())["name"], fresh()
    another = (await admin.made())["name"]
    await admin.ask("POST", f"/agents/{name}/responses", HI, headers=key)

    path = {"path": f"/agents/{another}/responses", "action": f"/agents/{name}/cancel"}.get(
        change, f"/agents/{name}/responses"
    )
    answer = await admin.ask("POST", path, {"input": {"text": "other"}} if change == "body" else HI, headers=key)

    assert "Idempotency-Key" in error_of(answer, 409, "CONFLICT")["message"]
    assert (await count(admin, name), await count(admin, another)) == (1, 0)


async def test_a_key_is_its_accounts_own(admin: Api, other: Api):
    key = fresh()
    mine, theirs = (await admin.made())["name"], (await other.made())["name"]

    await admin.ask("POST", f"/agents/{mine}/responses", HI, headers=key)
    answer = await other.ask("POST", f"/agents/{theirs}/responses", HI, headers=key)

    assert (answer.status_code, answer.json()["agent_name"]) == (200, theirs)
    error_of(await other.ask("POST", f"/agents/{mine}/responses", HI, headers=key), 409, "CONFLICT")


async def test_what_was_refused_did_nothing_and_may_be_asked_again(admin: Api, works: Works, db: Database):
    name, key = (await admin.made())["name"], fresh()
    await works(name, StateChanged("slept"), desired=None)

    error_of(await admin.ask("POST", f"/agents/{name}/busy", headers=key), 409, "CONFLICT")
    assert await rows(db, key["idempotency-key"]) == 0
    await works(name, StateChanged("idle"), desired=None)

    assert (await admin.ask("POST", f"/agents/{name}/busy", headers=key)).json()["state"] == "busy"


async def test_work_that_is_undone_keeps_no_answer(admin: Api, db: Database):
    """The answer stands and falls with the work: a commit that fails leaves neither."""
    name, key = (await admin.made())["name"], fresh()
    async with db.transaction() as conn:
        await conn.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger AS 'BEGIN RAISE EXCEPTION $$no$$ USING "
                "ERRCODE = $$57P01$$; END' LANGUAGE plpgsql"
            )
        )
        await conn.execute(
            text(
                "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON kept_answers DEFERRABLE "
                "INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
        )

    failed = await admin.ask("POST", f"/agents/{name}/responses", HI, headers=key)
    async with db.transaction() as conn:
        await conn.execute(text("DROP TRIGGER refuse ON kept_answers"))
    done = await admin.ask("POST", f"/agents/{name}/responses", HI, headers=key)

    error_of(failed, 503, "SERVICE_UNAVAILABLE")
    assert (done.status_code, "idempotent-replayed" in done.headers) == (200, False)
    assert await count(admin, name) == 1


async def test_a_blocking_request_that_was_cut_is_taken_up_again(admin: Api, works: Works):
    name, key = (await admin.made())["name"], fresh()
    await works(name, StateChanged("idle"), desired=None)
    body = {**HI, "background": False}
    cut = asyncio.create_task(admin.ask("POST", f"/agents/{name}/responses", body, headers=key))
    await until(lambda: _one(admin, name))
    cut.cancel()
    await asyncio.gather(cut, return_exceptions=True)

    again = asyncio.create_task(admin.ask("POST", f"/agents/{name}/responses", body, headers=key))
    turn_id = uuid.UUID((await admin.get(f"/agents/{name}/responses")).json()[0]["id"])
    await works(name, ResponseChanged(turn_id, "processing"), StateChanged("busy"))
    final = SegmentAdded(turn_id, {"type": "final", "channel": "final", "text": "hello"})
    await works(name, final, ResponseChanged(turn_id, "completed"), StateChanged("idle"))

    answer = await again
    assert answer.json()["output_content"] == [{"type": "text", "content": "hello"}]
    assert (answer.json()["status"], answer.headers["idempotent-replayed"]) == ("completed", "true")
    assert await count(admin, name) == 1


async def _one(admin: Api, name: str) -> bool:
    return await count(admin, name) == 1


CALLS: dict[str, tuple[str, Any]] = {
    "busy": ("idle", None),
    "idle": ("idle", None),
    "sleep": ("idle", {"delay_seconds": 100}),
    "wake": ("slept", {"prompt": "hi"}),
    "cancel": ("idle", None),
}


@pytest.mark.parametrize("action", CALLS)
async def test_every_action_is_answered_again(admin: Api, works: Works, action: str):
    state, body = CALLS[action]
    name, key = (await admin.made())["name"], fresh()
    await works(name, StateChanged(state), desired=None)

    first = await admin.ask("POST", f"/agents/{name}/{action}", body, headers=key)
    again = await admin.ask("POST", f"/agents/{name}/{action}", body, headers=key)

    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert (first.status_code, again.headers["idempotent-replayed"]) == (200, "true")


async def test_an_answer_counts_for_a_day_and_goes_then(admin: Api, db: Database):
    name, key, later = (await admin.made())["name"], fresh(), fresh()
    await admin.ask("POST", f"/agents/{name}/responses", HI, headers=key)
    await age(db, key["idempotency-key"], hours=23)
    assert "idempotent-replayed" in (await admin.ask("POST", f"/agents/{name}/responses", HI, headers=key)).headers
    await age(db, key["idempotency-key"], hours=2)

    anew = await admin.ask("POST", f"/agents/{name}/responses", HI, headers=key)
    assert "idempotent-replayed" not in anew.headers
    assert await count(admin, name) == 2

    await age(db, key["idempotency-key"], hours=25)
    await admin.ask("POST", f"/agents/{name}/responses", HI, headers=later)
    assert (await rows(db, key["idempotency-key"]), await rows(db, later["idempotency-key"])) == (0, 1)


async def age(db: Database, key: str, *, hours: int) -> None:
    async with db.transaction() as conn:
        older = kept_answers.c.created_at - text(f"interval '{hours} hours'")
        await conn.execute(update(kept_answers).where(kept_answers.c.key == key).values(created_at=older))


@pytest.mark.parametrize("key", ["", "k" * 256, "ümlaut", "tab\there"])
async def test_a_key_outside_its_rules_is_400(admin: Api, key: str):
    name = (await admin.made())["name"]

    answer = await admin.ask("POST", f"/agents/{name}/cancel", headers={b"idempotency-key": key.encode()})

    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "Idempotency-Key"


async def test_logins_are_never_kept(nobody: Api, db: Database):
    key = fresh()

    answers = [await nobody.ask("POST", "/operators/admin/login", {"pass": "admin"}, headers=key) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["token"] != answers[1].json()["token"]
    assert await rows(db, key["idempotency-key"]) == 0


async def test_secrets_in_a_body_are_nowhere_in_what_is_kept(admin: Api, db: Database):
    key = fresh()
    await admin.ask(
        "POST", "/agents", {"name": f"agent-{uuid.uuid4().hex[:12]}", "secrets": {"K": "canary-8c1f"}}, headers=key
    )

    async with db.reading() as conn:
        kept = (await conn.execute(select(kept_answers).where(kept_answers.c.key == key["idempotency-key"]))).one()
    assert b"canary-8c1f" not in kept.body
    assert len(kept.fingerprint) == 32


async def test_the_answer_is_given_again_after_its_agent_is_gone(admin: Api):
    name, key = (await admin.made())["name"], fresh()
    first = await admin.ask("POST", f"/agents/{name}/responses", HI, headers=key)
    await admin.ask("DELETE", f"/agents/{name}")

    assert (await admin.ask("POST", f"/agents/{name}/responses", HI, headers=key)).content == first.content
