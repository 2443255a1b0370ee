"""The documented shapes of the train's API, field by field: what a running server answers, and what it says it does.

The fields below are written down from the document, not taken from the server: one that is renamed, left out or gets
another type fails here. Fields that the document does not name are additions, and not looked at.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asking import Api, client_of
from calls import call, store
from outage import Watched, away
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.recordings import LinkRow, RequestRow
from raworc.supervisor.cluster import Cluster
from served import Served
from shapes import Day, Hash, Shape, Time, Uuid, compared, described
from waiting import until

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
TOKENS = {"input": int, "output": int, "total": int}
TYPES = ("inference", "query_evaluation", "quota")
PERIOD = {"start": Time, "end": Time}
PAGINATION = {"total": int, "page": int, "per_page": int, "total_pages": int}
REQUEST = {
    "id": Uuid,
    "trainId": str,
    "account_id": str,
    "method": str,
    "path": str,
    "status_code": int,
    "error_type": str | None,
    "error_message": str | None,
    "model": str | None,
    "request_type": TYPES,
    "input_tokens": int,
    "output_tokens": int,
    "total_tokens": int,
    "response_time_ms": int,
    "created_at": Time,
    "updated_at": Time,
    "conversation_id": Uuid | None,
    "branch_id": str | None,
    "current_message_hash": Hash | None,
    "parent_message_hash": Hash | None,
    "is_subtask": bool,
    "parent_task_request_id": Uuid | None,
}
CHUNK = {"chunk_index": int, "content": str, "created_at": Time}
BRANCH = {"branch_id": str, "parent_hash": str, "created_at": Time, "message_count": int}
CONVERSATION = {
    "conversation_id": Uuid,
    "account_id": str,
    "trainId": str,
    "first_message_at": Time,
    "last_message_at": Time,
    "message_count": int,
    "total_tokens": int,
    "branches": [BRANCH],
    "latest_request": {"id": Uuid, "status_code": int, "model": str, "created_at": Time},
    "has_subtasks": bool,
    "subtask_count": int,
}
USED = {"requests": int, "input_tokens": int, "output_tokens": int, "total_tokens": int}

SHAPES: dict[str, Shape] = {
    "/health": {
        "status": ("ok", "error"),
        "timestamp": Time,
        "version": str,
        "database": ("connected", "disconnected"),
    },
    "/token-stats": {
        "total_requests": int,
        "total_tokens": TOKENS,
        "by_train": {
            str: {"requests": int, "tokens": TOKENS, "by_type": {"inference": int, "query_evaluation": int}},
        },
        "by_model": {str: {"requests": int, "tokens": TOKENS}},
    },
    "/api/stats": {
        "total_requests": int,
        "total_tokens": int,
        "active_trains": int,
        "total_subtasks": int,
        "success_rate": float,
        "average_latency": float,
        "period": PERIOD,
    },
    "/api/token-usage/current": {
        "account_id": str,
        "window_minutes": int,
        "usage": {"tokens_used": int, "limit": int, "percentage": float, "reset_at": Time},
        "requests": {"count": int, "by_type": dict.fromkeys(TYPES, int)},
    },
    "/api/token-usage/daily": {
        "account_id": str,
        "period": PERIOD,
        "days": [{"date": Day, **USED, "by_model": {str: {"requests": int, "tokens": int}}}],
        "totals": {**USED, "estimated_cost": float},
    },
    "/api/conversations": {"conversations": [CONVERSATION], "pagination": PAGINATION},
    "/api/conversations/{conversation_id}": {**CONVERSATION, "requests": [REQUEST]},
    "/api/requests": {"requests": [REQUEST], "pagination": PAGINATION},
    "/api/requests/{request_id}": {**REQUEST, "request_body": Any, "response_body": Any, "streaming_chunks": [CHUNK]},
}


def saying(*messages: bytes, **more: Any) -> LinkRow:
    """What a call says whose messages have these digests."""
    digests = [message.ljust(32, b".") for message in messages]
    own = {"first": digests[0], "whole": digests[-1], "prefixes": b"".join(digests), "ok": True}
    return LinkRow(**{**own, "body_digest": digests[-1]} | more)


FAILURE = {"error_type": "overloaded_error", "error_message": "Overloaded"}


def recorded() -> list[RequestRow]:
    """Calls of which each documented field has a value somewhere: a subtask, a branch, a stream, a failure, a retry."""
    prompt = b"prompt".ljust(32, b".")
    tasks = [["toolu_1", prompt.hex()]]
    opening = call(NOW - timedelta(minutes=9), link=saying(b"a", tasks=tasks, answered=b"b".ljust(32, b".")))
    streamed = {"stream": b"data: x\n\n", "offsets": [0], "at_ms": [5], "response_body": b'{"type": "message"}'}
    return [
        opening,
        call(NOW - timedelta(minutes=8), link=saying(b"t", prompt=prompt), request_type="query_evaluation"),
        call(NOW - timedelta(minutes=7), link=saying(b"a", b"b", b"c"), request_body=b'{"model": "m"}', **streamed),
        call(NOW - timedelta(minutes=6), link=saying(b"a", b"b", b"d"), request_type="quota"),
        call(NOW - timedelta(hours=25)),
        call(NOW - timedelta(minutes=5), status_code=529, link=saying(b"e", ok=False), **FAILURE),
        call(NOW - timedelta(minutes=4), link=saying(b"e")),
    ]


CALLS = recorded()


@pytest.fixture(scope="module", autouse=True)
async def told(db: Database) -> None:
    await store(db, CALLS)


async def asked(api: Api, path: str) -> list[Any]:
    """What is answered at a path: of one that names a thing, for every thing there is."""
    if "{" not in path:
        return [await ask(api, path)]
    if "request_id" in path:
        return [await ask(api, f"/api/requests/{one.id}") for one in CALLS]
    found = await ask(api, "/api/conversations")
    return [await ask(api, f"/api/conversations/{one['conversation_id']}") for one in found["conversations"]]


async def ask(api: Api, path: str) -> Any:
    answer = await api.http.get(api.served.url + path)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("path", SHAPES)
async def test_an_answer_has_every_documented_field_in_its_type(admin: Api, path: str):
    found = [pair for answer in await asked(admin, path) for pair in compared(answer, SHAPES[path])]
    filled = {where for where, value in found if value is not None}
    assert {where for where, _ in found} - filled == set()  # each was seen with a value, in its type


@pytest.mark.parametrize("path", SHAPES)
async def test_the_openapi_document_has_every_documented_field_in_its_type(admin: Api, path: str):
    document = await ask(admin, "/api-docs/train/openapi.json")
    content = document["paths"][path]["get"]["responses"]["200"]["content"]
    described(document, content["application/json"]["schema"], SHAPES[path], path)


async def test_a_subtask_and_a_branch_are_told_as_documented(admin: Api):
    found = (await ask(admin, "/api/conversations"))["conversations"]
    (one,) = [item for item in found if item["has_subtasks"]]
    assert one["subtask_count"] == 1
    names = [branch["branch_id"] for branch in one["branches"]]
    assert names == ["main", "subtask_1", f"branch_{CALLS[3].created_at:%Y%m%d%H%M%S}"]
    task = await ask(admin, f"/api/requests/{CALLS[1].id}")
    assert (task["is_subtask"], task["parent_task_request_id"]) == (True, str(CALLS[0].id))
    assert (await ask(admin, "/api/stats"))["total_subtasks"] == 1


async def test_each_call_says_what_placed_it_and_after_which(admin: Api):
    found = {one["id"]: one for one in (await ask(admin, "/api/requests"))["requests"]}
    names = ("link_source", "parent_request_id", "retry_of")
    opening, failed = str(CALLS[0].id), str(CALLS[5].id)
    assert [tuple(found[str(call.id)][name] for name in names) for call in CALLS] == [
        ("none", None, None),
        ("task", None, None),
        ("prefix", opening, None),
        ("prefix", opening, None),
        (None, None, None),
        ("none", None, None),
        ("none", None, failed),
    ]


async def test_stats_are_of_a_day_and_token_stats_of_all_time(admin: Api):
    found = await ask(admin, "/api/stats")
    start, end = (datetime.fromisoformat(found["period"][name]) for name in ("start", "end"))
    assert end - start == timedelta(days=1)
    assert (found["total_requests"], round(found["success_rate"], 1)) == (6, 83.3)
    assert (await ask(admin, "/token-stats"))["total_requests"] == 7


async def test_health_says_that_the_database_is_away(settings: Settings, postgres: Cluster, served: Served):
    watched = Watched(str(settings.database_url), pool_size=1)
    url = f"{served.url}/health"
    async with client_of(served, None) as api, away(postgres, watched, misses=0):
        answer = await api.http.get(url)
    body = answer.json()
    assert answer.status_code == 503
    assert dict(compared(body, SHAPES["/health"]))[".database"] == "disconnected"
    assert body["status"] == "error"
    assert body["error"]["type"] == "service_unavailable"
    await watched.close()

    async def is_back() -> bool:
        async with client_of(served, None) as api:
            return (await api.http.get(url)).status_code == 200

    await until(is_back)
