"""The dashboard's documented routes over recorded calls: shapes, filters, pages, and what each may see."""

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from asking import Api, error_of, somebody
from calls import call, store
from raworc.store.database import Database
from raworc.store.recordings import RequestRow
from rows import add_role, bind
from served import Served

pytestmark = pytest.mark.anyio

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
LOOKS = {"resources": ["requests", "usage"], "verbs": ["get", "list"], "scope": "space"}


CALLS = [
    call(NOON, b"one", request_body=b'{"z": 1, "a": [1.0]}', response_body=b"plain"),
    call(NOON + timedelta(minutes=30), train_id="other", model="gpt-x", cost_usd=None, price_version=None),
    call(NOON + timedelta(minutes=59), b"two", space="lab", account_id="second", request_type="quota"),
    call(NOON + timedelta(hours=3), status_code=429, error_type="rate_limit_error", output_tokens=0, input_tokens=0),
    call(
        NOON + timedelta(hours=26),
        b"three",
        stream=b"data: x\n\ndata: y\n\n",
        offsets=[0, 9],
        at_ms=[5, 7],
        cache_read_input_tokens=7,
    ),
    call(NOON + timedelta(hours=27), space=None, account_id=None, model=None, status_code=401, error_type="auth"),
]


@pytest.fixture(scope="module", autouse=True)
async def recorded(db: Database) -> None:
    await store(db, CALLS)


async def ask(api: Api, path: str, **query: object):
    answer = await api.http.get(api.served.url + path, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["raworc-contract"] == "train"
    return answer.json()


async def ids(api: Api, **query: object) -> list[int]:
    """Which of the calls are listed, by their number."""
    found = await ask(api, "/api/requests", **query)
    at = {str(one.id): number for number, one in enumerate(CALLS)}
    assert found["pagination"]["total"] == len(found["requests"]) or {"limit", "per_page", "offset"} & query.keys()
    return [at[one["id"]] for one in found["requests"]]


async def test_requests_newest_first_with_every_documented_field(admin: Api):
    found = await ask(admin, "/api/requests")
    assert [one["id"] for one in found["requests"]] == [str(one.id) for one in reversed(CALLS)]
    assert found["pagination"] == {"total": 6, "page": 1, "per_page": 50, "total_pages": 1}
    oldest = found["requests"][-1]
    assert oldest["trainId"] == "project"
    assert (oldest["account_id"], oldest["method"], oldest["path"]) == ("anthropic", "POST", "/v1/messages")
    assert (oldest["status_code"], oldest["total_tokens"], oldest["response_time_ms"]) == (200, 110, 40)
    assert (oldest["branch_id"], oldest["is_subtask"], oldest["cost_usd"]) == ("main", False, 0.25)
    assert uuid.UUID(oldest["conversation_id"])
    assert len(oldest["current_message_hash"]) == 64
    assert "request_body" not in oldest


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"trainId": "other"}, [1]),
        ({"accountId": "second"}, [2]),
        ({"model": "gpt-x"}, [1]),
        ({"space": "lab"}, [2]),
        ({"requestType": "quota"}, [2]),
        ({"status": "error"}, [5, 3]),
        ({"status": "success", "trainId": "project"}, [4, 2, 0]),
        ({"status": "429"}, [3]),
        ({"status": "4xx"}, [5, 3]),
        ({"from": NOON + timedelta(minutes=30), "to": NOON + timedelta(minutes=59)}, [1]),
        ({"from": NOON + timedelta(minutes=1), "to": NOON + timedelta(hours=26, microseconds=1)}, [4, 3, 2, 1]),
        ({"from": (NOON + timedelta(hours=27)).isoformat()}, [5]),
        ({"trainId": "nobody"}, []),
        ({"limit": 2}, [5, 4]),
        ({"limit": 2, "offset": 3}, [2, 1]),
        ({"per_page": 4, "page": 2}, [1, 0]),
        ({"per_page": 4, "page": 3}, []),
        ({"limit": 2, "offset": 10**15}, []),
    ],
)
async def test_requests_are_chosen_and_cut_into_pages(admin: Api, query: dict, wanted: list[int]):
    assert await ids(admin, **query) == wanted


async def test_a_request_with_what_was_said_in_it(admin: Api):
    found = await ask(admin, f"/api/requests/{CALLS[0].id}")
    assert found["request_body"] == {"z": 1, "a": [1.0]}
    assert (found["response_body"], found["streaming_chunks"]) == ("plain", [])
    streamed = await ask(admin, f"/api/requests/{CALLS[4].id}")
    chunks = [(chunk["chunk_index"], chunk["content"]) for chunk in streamed["streaming_chunks"]]
    assert chunks == [(0, "data: x\n\n"), (1, "data: y\n\n")]
    bare = await ask(admin, f"/api/requests/{CALLS[5].id}")
    assert (bare["account_id"], bare["model"], bare["conversation_id"]) == ("", None, None)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"model": "claude-sonnet-4-5"}, [4, 2, 0]),
        ({"model": "gpt-x"}, []),
        ({"requestType": "quota"}, [2]),
        ({"requestType": "inference", "space": "default"}, [4, 0]),
        ({"status": "success"}, [4, 2, 0]),
        ({"status": "error"}, []),
        ({"status": "200", "from": NOON + timedelta(minutes=1)}, [4, 2]),
        ({"status": "4xx"}, []),
        ({"trainId": "project", "accountId": "second", "model": "claude-sonnet-4-5"}, [2]),
        ({"model": "claude-sonnet-4-5", "limit": 1, "offset": 1}, [2]),
        ({"status": "2xx", "per_page": 2, "page": 2}, [0]),
    ],
)
async def test_conversations_are_chosen_and_cut_into_pages(admin: Api, query: dict, wanted: list[int]):
    found = await ask(admin, "/api/conversations", **query)
    at = {str(one.id): number for number, one in enumerate(CALLS)}
    assert [at[one["latest_request"]["id"]] for one in found["conversations"]] == wanted
    paged = {"limit", "per_page"} & query.keys()
    assert found["pagination"]["total"] == (3 if paged else len(wanted))


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"model": "gpt-x"}, [1]),
        ({"requestType": "quota"}, [2]),
        ({"status": "error"}, [3, 5]),
        ({"status": "success"}, [0, 1, 2, 4]),
        ({"status": "success", "trainId": "other"}, [1]),
        ({"status": "error", "model": "claude-sonnet-4-5"}, [3]),
        ({"status": "429"}, [3]),
        ({"status": "4xx", "accountId": "anthropic"}, [3]),
        ({"status": "error", "from": NOON + timedelta(hours=4)}, [5]),
        ({"status": "success", "to": NOON + timedelta(minutes=59)}, [0, 1]),
    ],
)
async def test_figures_are_of_the_calls_that_are_meant(admin: Api, query: dict, wanted: list[int]):
    calls = [CALLS[number] for number in wanted]
    tokens = sum(one.input_tokens + one.output_tokens for one in calls)
    stats = await ask(admin, "/api/stats", **({"from": NOON - timedelta(days=9)} | query))
    assert (stats["total_requests"], stats["total_tokens"]) == (len(wanted), tokens)
    told = await ask(admin, "/token-stats", **query)
    assert (told["total_requests"], told["total_tokens"]["total"]) == (len(wanted), tokens)
    assert sum(train["requests"] for train in told["by_train"].values()) == len(wanted)
    if not {"from", "to"} & query.keys():
        daily = await ask(admin, "/api/token-usage/daily", **query)
        assert (daily["totals"]["requests"], daily["totals"]["total_tokens"]) == (len(wanted), tokens)


async def test_conversations_and_the_calls_of_one(admin: Api):
    found = await ask(admin, "/api/conversations")
    assert found["pagination"] == {"total": 3, "page": 1, "per_page": 50, "total_pages": 1}
    newest = found["conversations"][0]
    assert newest["latest_request"] == {
        "id": str(CALLS[4].id),
        "status_code": 200,
        "model": "claude-sonnet-4-5",
        "created_at": newest["last_message_at"],
    }
    assert [branch["branch_id"] for branch in newest["branches"]] == ["main"]
    assert newest["branches"][0]["parent_hash"] == ""
    assert (newest["total_tokens"], newest["cost_usd"], newest["message_count"]) == (110, 0.25, 1)
    assert (newest["has_subtasks"], newest["subtask_count"]) == (False, 0)
    one = await ask(admin, f"/api/conversations/{newest['conversation_id']}")
    assert [item["id"] for item in one.pop("requests")] == [str(CALLS[4].id)]
    assert one.pop("pagination")["total"] == 1
    assert one == newest
    assert len((await ask(admin, "/api/conversations", space="lab"))["conversations"]) == 1
    until = (await ask(admin, "/api/conversations", to=NOON + timedelta(hours=1)))["conversations"]
    assert [item["trainId"] for item in until] == ["project", "project"]
    assert (await ask(admin, "/api/conversations", limit=1, offset=1))["pagination"]["page"] == 2


async def test_token_stats_by_train_and_by_model(admin: Api):
    found = await ask(admin, "/token-stats")
    assert (found["total_requests"], found["total_tokens"]["total"], found["unpriced_requests"]) == (6, 550, 1)
    assert found["total_tokens"]["cache_read"] == 7
    assert found["by_train"]["other"]["requests"] == 1
    assert found["by_train"]["project"]["by_type"] == {"inference": 4, "query_evaluation": 0, "quota": 1}
    assert found["by_model"]["gpt-x"]["tokens"]["output"] == 10
    assert set(found["by_model"]) == {"claude-sonnet-4-5", "gpt-x", "unknown"}
    assert found["cost_usd"] == 1.25


async def test_stats_of_a_period_to_the_microsecond(admin: Api):
    period = {"from": NOON + timedelta(microseconds=1), "to": NOON + timedelta(hours=26)}
    found = await ask(admin, "/api/stats", **period)
    assert (found["total_requests"], found["total_tokens"], found["active_trains"]) == (3, 220, 2)
    assert found["success_rate"] == pytest.approx(200 / 3)
    assert (found["average_latency"], found["total_subtasks"]) == (40, 0)
    assert found["period"]["start"].startswith(f"{NOON:%Y-%m-%dT12:00:00.000001}")
    today = await ask(admin, "/api/stats", trainId="nobody")
    assert (today["total_requests"], today["success_rate"], today["average_latency"]) == (0, 100, 0)


async def test_days_without_a_gap(admin: Api):
    found = await ask(admin, "/api/token-usage/daily", days=4)
    days = [(NOON + timedelta(days=offset)).date().isoformat() for offset in (-1, 0, 1, 2)]
    assert [day["date"] for day in found["days"]] == days
    assert [day["requests"] for day in found["days"]] == [0, 4, 2, 0]
    assert found["days"][1]["by_model"]["gpt-x"] == {"requests": 1, "tokens": 110}
    assert (found["account_id"], found["totals"]["estimated_cost"], found["totals"]["requests"]) == ("all", 1.25, 6)
    assert len((await ask(admin, "/api/token-usage/daily"))["days"]) == 30
    one = await ask(admin, "/api/token-usage/daily", **{"from": NOON, "to": NOON, "accountId": "second"})
    assert [(day["requests"], one["account_id"]) for day in one["days"]] == [(1, "second")]


async def test_a_caller_sees_and_counts_his_own_spaces_only(served: Served, db: Database, admin: Api):
    async with somebody(served, db, "lara") as lara:
        answer = await lara.http.get(served.url + "/api/requests")
        error_of(answer, 403, "FORBIDDEN")
        async with db.transaction() as conn:
            await conn.exec_driver_sql("INSERT INTO spaces (name) VALUES ('lab')")
            from_db = await conn.exec_driver_sql("SELECT id FROM accounts WHERE name = 'lara'")
            await bind(conn, await add_role(conn, "looks", LOOKS), from_db.scalar_one(), "lab")
        assert await ids(lara) == [2]
        assert await ids(lara, space="default") == []
        assert (await ask(lara, "/token-stats"))["total_requests"] == 1
        assert (await ask(lara, "/api/stats", **{"from": NOON}))["total_requests"] == 1
        assert (await ask(lara, "/api/token-usage/daily"))["totals"]["requests"] == 1
        assert (await ask(lara, "/api/conversations"))["pagination"]["total"] == 1
        error_of(await lara.http.get(f"{served.url}/api/requests/{CALLS[0].id}"), 404, "NOT_FOUND")
        (other,) = (await ask(admin, "/api/conversations", to=NOON + timedelta(minutes=1)))["conversations"]
        answer = await lara.http.get(f"{served.url}/api/conversations/{other['conversation_id']}")
        error_of(answer, 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/api/requests", {"from": "yesterday"}),
        ("/api/requests", {"from": "2026-02-02", "to": "2026-02-01"}),
        ("/api/requests", {"status": "bad"}),
        ("/api/requests", {"requestType": "bad"}),
        ("/api/requests", {"trainId": "a b"}),
        ("/api/requests", {"limit": 0}),
        ("/api/requests", {"offset": -1}),
        ("/api/requests", {"page": "x"}),
        ("/api/conversations", {"per_page": "0"}),
        ("/api/token-usage/daily", {"days": 0}),
        ("/api/token-usage/daily", {"days": 366}),
        ("/api/token-usage/daily", {"days": "x"}),
        ("/api/token-usage/daily", {"from": "1970-01-01"}),
        ("/api/stats", {"to": "never"}),
    ],
)
async def test_what_cannot_be_read_is_refused_by_name(admin: Api, path: str, query: dict):
    body = error_of(await admin.http.get(admin.served.url + path, params=query), 400, "BAD_REQUEST")
    assert {detail["field"] for detail in body["error"]["details"]} <= query.keys()


async def test_ids_that_name_nothing(admin: Api):
    for path in ("/api/requests/x", f"/api/requests/{uuid.uuid4()}", "/api/conversations/x"):
        error_of(await admin.http.get(admin.served.url + path), 404, "NOT_FOUND")


async def test_health_is_public(nobody: Api):
    found = await ask(nobody, "/health")
    assert (found["status"], found["database"]) == ("ok", "connected")
    assert set(found) == {"status", "timestamp", "version", "database"}
    error_of(await nobody.http.get(nobody.served.url + "/token-stats"), 401, "UNAUTHORIZED")


async def test_calls_are_told_as_they_are_stored_and_from_any_point_on(admin: Api, db: Database):
    new = call(NOON + timedelta(hours=30), b"four", train_id="told")
    url = admin.served.url + "/api/events"
    async with admin.http.stream("GET", url, params={"trainId": "told"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        assert await anext(lines) == ": ping"
        await store(db, [new])
        begun = await event(lines)
        told = await event(lines)
    assert (begun["event"], begun["data"]["latest_request"]["id"], "id" in begun) == (
        "conversation",
        str(new.id),
        False,
    )
    assert (told["event"], told["data"]["id"]) == ("request", str(new.id))
    assert told["data"]["conversation_id"] == begun["data"]["conversation_id"]
    async with admin.http.stream("GET", url, headers={"last-event-id": str(int(told["id"]) - 2)}) as answer:
        lines = answer.aiter_lines()
        before = await event(lines)
        assert (before["id"], before["data"]["id"]) == (str(int(told["id"]) - 1), str(CALLS[5].id))
        assert (await event(lines))["event"] == "conversation"
        assert (await event(lines))["id"] == told["id"]
    error_of(await admin.http.get(url, headers={"last-event-id": "x"}), 400, "BAD_REQUEST")


async def event(lines: AsyncIterator[str]) -> dict:
    """The next event, pings left out."""
    fields: dict = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            return fields | {"data": json.loads(fields["data"])}
    raise AssertionError("the stream ended")


@pytest.fixture(scope="module")
async def long_talk(db: Database) -> list[RequestRow]:
    """A conversation of five calls: for what comes last in this file, as the others count all calls."""
    link = call(NOON, b"talk").link
    assert link is not None
    link = replace(link, session="long")
    talk = [call(NOON + timedelta(seconds=n), link=link, train_id="long") for n in range(5)]
    await store(db, talk)
    return talk


@pytest.mark.parametrize(
    ("query", "wanted", "at"),
    [
        ({}, [0, 1, 2, 3, 4], (1, 50, 1)),
        ({"limit": 2}, [0, 1], (1, 2, 3)),
        ({"limit": 2, "offset": 3}, [3, 4], (2, 2, 3)),
        ({"per_page": 2, "page": 3}, [4], (3, 2, 3)),
        ({"per_page": 2, "page": 4}, [], (4, 2, 3)),
        ({"per_page": 2, "page": 3, "limit": 4, "offset": 0}, [0, 1, 2, 3], (1, 4, 2)),
    ],
)
async def test_the_calls_of_one_conversation_are_cut_into_pages(
    admin: Api, long_talk: list[RequestRow], query: dict, wanted: list[int], at: tuple[int, int, int]
):
    talk = (await ask(admin, f"/api/requests/{long_talk[0].id}"))["conversation_id"]
    found = await ask(admin, f"/api/conversations/{talk}", **query)
    numbers = {str(one.id): number for number, one in enumerate(long_talk)}
    assert [numbers[one["id"]] for one in found["requests"]] == wanted
    page, per_page, pages = at
    assert found["pagination"] == {"total": 5, "page": page, "per_page": per_page, "total_pages": pages}
