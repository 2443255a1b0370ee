"""How long the dashboard's answers take, and what a recorded call costs, with few calls stored and with a million.

usage: .venv/bin/python bench/stored.py [--calls 1000000] [--few 10000] [--rounds 60] [--json]

Starts ``raworc up`` on an empty home, makes calls of 30 days in its database (ten a conversation), and asks over one
connection, one request at a time; with ``--few`` calls first, then with ``--calls``. Then it stores and places fresh
calls as the recorder does, in turns in that database and in one with ``--few``, several times over: each time right
after a checkpoint, and beside a fresh copy of the small database, which would not stay small. A call's cost is told
as time, and as processor time of the recorder and of Postgres for it, which neighbours disturb less.
"""

import argparse
import asyncio
import hashlib
import http.client
import json
import statistics
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from sqlalchemy import text

from installation import Installation, installed
from raworc.services.linking import Linking
from raworc.services.recording import Recording
from raworc.store.database import Database
from raworc.store.migrate import migrate
from raworc.store.recordings import KEYS, SUMS, LinkRow, RequestRow, SpoolPosition, day_statements
from raworc.supervisor.cluster import ROLE, SUPERUSER
from reads import database_url
from turns import machine

DAYS = 30
MUST_MS = 100.0
MUST_GROW = 1.3
TIMES = 5
BATCHES = 60
WARM_UP = 20
PLACES = {True: 3, False: 1}  # of what is printed, for one call of many and for an answer
INDEXES = """
SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'links' AND schemaname = 'public'
    AND indexname LIKE 'ix\\_%'
"""
WINDOWS = """
INSERT INTO usage_windows (account_id, starts_at, tokens)
SELECT account_id, date_bin('5 hours', created_at, '2000-01-01'::timestamptz), sum(input_tokens + output_tokens)
FROM requests WHERE account_id IS NOT NULL GROUP BY 1, 2
"""
CALLS = """
CREATE TEMPORARY TABLE made AS
SELECT md5('call' || i)::uuid AS id, md5('conversation' || i / 10)::uuid AS conversation_id, i, i / 10 AS c,
    date_trunc('day', now(), 'UTC') - interval '30 days'
        + (i / 10 * 10.0 / %(calls)s) * interval '29 days 23 hours' + i %% 10 * interval '20 seconds' AS created_at,
    sha256(('said' || i)::bytea) AS said, sha256(('first' || i / 10)::bytea) AS first
FROM generate_series(%(first)s, %(last)s - 1) i;
INSERT INTO requests (id, created_at, caller, space, train_id, account_id, method, path, model, request_type, streamed,
    status_code, upstream_status, error_type, bodies, input_tokens, output_tokens, cache_read_input_tokens, cost_usd,
    price_version, first_byte_ms, duration_ms, message_count, number)
SELECT id, created_at, 'key', (ARRAY['default', 'lab', 'team', 'shop', 'ops'])[1 + c %% 5], 'project-' || c %% 40,
    (ARRAY['anthropic', 'second', 'openai'])[1 + c %% 3], 'POST', '/v1/messages',
    (ARRAY['claude-sonnet-4-5', 'claude-haiku-4-5', 'gpt-5', 'gpt-5-mini', 'own'])[1 + c %% 5],
    CASE WHEN i %% 20 = 0 THEN 'quota' WHEN i %% 7 = 0 THEN 'query_evaluation' ELSE 'inference' END, i %% 2 = 0,
    CASE WHEN i %% 50 = 0 THEN 429 ELSE 200 END, CASE WHEN i %% 50 = 0 THEN 429 ELSE 200 END,
    CASE WHEN i %% 50 = 0 THEN 'rate_limit_error' END, 'kept', 500 + i %% 900, 100 + i %% 300, i %% 4000,
    CASE WHEN c %% 5 < 4 THEN (i %% 100) * 0.0001 END, CASE WHEN c %% 5 < 4 THEN 'bench' END, 300, 900 + i %% 2000,
    1 + 2 * (i %% 10)::int, i + 1
FROM made;
INSERT INTO request_bodies (id, created_at, request_headers, request_body, response_headers, response_body)
SELECT id, created_at, '{"content-type": "application/json"}',
    convert_to('{"messages": [{"role": "user", "content": "' || repeat(md5(i::text), 8) || '"}]}', 'UTF8'),
    '{"content-type": "application/json"}',
    convert_to('{"content": [{"type": "text", "text": "' || repeat(md5(i::text), 4) || '"}]}', 'UTF8')
FROM made;
INSERT INTO links (id, created_at, space, train_id, first, whole, prefixes, answered, body_digest, ok, side,
    conversation_id, branch_id, source)
SELECT id, created_at, (ARRAY['default', 'lab', 'team', 'shop', 'ops'])[1 + c %% 5], 'project-' || c %% 40, first,
    said, said, sha256(said), said, true, false, conversation_id,
    CASE WHEN i %% 40 = 39 THEN 'subtask_1' ELSE 'main' END, 'prefix'
FROM made;
INSERT INTO conversations (id, space, train_id, account_id, first_at, last_at, latest_request_id, requests, failed,
    tokens, cost_usd, unpriced, models, request_types, status_codes, message_count, subtasks, numbers, main_taken)
SELECT m.conversation_id, min(r.space), min(r.train_id), min(r.account_id), min(r.created_at), max(r.created_at),
    (array_agg(r.id ORDER BY r.created_at DESC))[1], count(*), count(r.error_type),
    sum(input_tokens + output_tokens), coalesce(sum(cost_usd), 0), count(*) FILTER (WHERE cost_usd IS NULL),
    array_agg(DISTINCT r.model), array_agg(DISTINCT r.request_type), array_agg(DISTINCT r.status_code), 19,
    count(*) FILTER (WHERE i %% 40 = 39), 1, true
FROM made m JOIN requests r ON r.id = m.id AND r.created_at = m.created_at GROUP BY 1;
INSERT INTO conversation_branches (conversation_id, branch_id, created_at, message_count, is_subtask)
SELECT conversation_id, CASE WHEN i %% 40 = 39 THEN 'subtask_1' ELSE 'main' END, min(created_at), 19, i %% 40 = 39
FROM made GROUP BY 1, 2, 5;
INSERT INTO ledger (id, last_number) VALUES (1, %(last)s)
    ON CONFLICT (id) DO UPDATE SET last_number = excluded.last_number;
DROP TABLE made
"""


@dataclass(frozen=True)
class Figure:
    """One kind of answer, in milliseconds; of ``store`` one call of many that are stored at once."""

    what: str
    few_p50: float
    few_p95: float
    many_p50: float
    many_p95: float

    @property
    def growth(self) -> float:
        return self.many_p50 / self.few_p50

    @property
    def is_call(self) -> bool:
        return self.what.startswith("store")

    @property
    def verdict(self) -> str:
        return "ok" if (self.growth <= MUST_GROW if self.is_call else self.many_p95 <= MUST_MS) else "miss"

    def printed(self) -> str:
        places = PLACES[self.is_call]
        few, many = (self.few_p50, self.few_p95), (self.many_p50, self.many_p95)
        numbers = "".join(f"{p50:>10.{places}f}{p95:>8.{places}f}" for p50, p95 in (few, many))
        return f"{self.what:<34}{numbers}{self.growth:>8.2f}  {self.verdict}"


def fill(conn: psycopg.Connection, first: int, last: int) -> None:
    """Calls ``first`` to ``last`` spread over all days, with everything that the recorder keeps of them."""
    today = datetime.now(UTC).date()
    for number in range(DAYS + 1):
        day = today - timedelta(days=number)
        row = conn.execute("SELECT to_regclass(%s)", [f"request_days.requests_{day:%Y%m%d}"]).fetchone()
        for statement in day_statements(day) if row == (None,) else ():
            conn.execute(statement)
    indexes = conn.execute(INDEXES).fetchall()
    for name, _ in indexes:
        conn.execute(f"DROP INDEX {name}".encode())
    cursor = psycopg.ClientCursor(conn)  # several statements at once
    cursor.execute(CALLS, {"first": first, "last": last, "calls": last - first if first == 0 else last})
    for _, definition in indexes:
        conn.execute(definition.encode())
    for table, unit in (("request_hours", "hour"), ("request_dates", "day")):
        conn.execute(f"TRUNCATE {table}".encode())
        keys, sums = ", ".join(KEYS.values()), ", ".join(SUMS.values())
        named = ", ".join([unit, *KEYS, *SUMS])
        summed = f"SELECT date_trunc('{unit}', created_at, 'UTC'), {keys}, {sums} FROM requests"  # noqa: S608  our own
        conn.execute(f"INSERT INTO {table} ({named}) {summed} GROUP BY 1, 2, 3, 4, 5, 6, 7".encode())
    conn.execute("TRUNCATE usage_windows")
    conn.execute(WINDOWS)
    conn.execute("VACUUM ANALYZE")


def paths(count: int) -> dict[str, str]:
    """What is asked of ``count`` calls."""
    middle, conversation = count // 2 // 10 * 10, count // 20
    call = uuid.UUID(hashlib.md5(f"call{middle}".encode(), usedforsecurity=False).hexdigest())
    talk = uuid.UUID(hashlib.md5(f"conversation{conversation}".encode(), usedforsecurity=False).hexdigest())
    since = (datetime.now(UTC) - timedelta(days=20)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "token-stats": "/token-stats",
        "token-stats of a space": "/token-stats?space=lab",
        "stats, 24 hours": "/api/stats",
        "token-stats of successes": "/token-stats?status=success",
        "stats, 20 days of failed calls": f"/api/stats?status=error&from={since}",
        "daily of a status and model": "/api/token-usage/daily?model=gpt-5&status=4xx",
        "conversations of a model": "/api/conversations?model=gpt-5",
        "conversations with a failed call": "/api/conversations?status=error&requestType=quota",
        "stats, 20 days of a train": f"/api/stats?trainId=project-3&from={since}",
        "current window": "/api/token-usage/current?accountId=anthropic",
        "daily": "/api/token-usage/daily",
        "daily of a model": "/api/token-usage/daily?model=gpt-5",
        "conversations": "/api/conversations",
        "conversations of a train": "/api/conversations?trainId=project-3&limit=20",
        "one conversation": f"/api/conversations/{talk}",
        "requests": "/api/requests",
        "requests of a train and model": "/api/requests?trainId=project-3&model=gpt-5-mini",
        "requests that failed": "/api/requests?status=429&space=ops",
        "requests since 20 days": f"/api/requests?from={since}&accountId=second",
        "requests, last page": f"/api/requests?limit=50&offset={count - 50}",
        "one request": f"/api/requests/{call}",
    }


def ask(installation: Installation, path: str, rounds: int) -> list[float]:
    """Milliseconds of each answer, after two that do not count."""
    connection = http.client.HTTPConnection("127.0.0.1", installation.port, timeout=120)
    times: list[float] = []
    for number in range(rounds + 2):
        began = time.perf_counter()
        connection.request("GET", path, headers={"authorization": f"Bearer {installation.token}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != http.client.OK:
            sys.exit(f"{path}: {answer.status} {body[:300].decode(errors='replace')}")
        if number > 1:
            times.append((time.perf_counter() - began) * 1000)
    connection.close()
    return times


class Recorder:
    """Stores and places calls as the recorder does, a hundred at once: one of each conversation that goes on.

    With each batch ten conversations begin and ten end, after ten calls. So batches are alike from the tenth on.
    """

    def __init__(self, url: str) -> None:
        self._db = Database(url, pool_size=2)
        self._recording, self._linking = Recording(self._db, "bench"), Linking(self._db)
        self._open: deque[list[bytes]] = deque(maxlen=100)  # digests of what was said

    async def batch(self) -> tuple[float, float]:
        """Milliseconds to store and to place one call, and of processor time for it."""
        self._open.extend([] for _ in range(10))
        rows = [_row(said) for said in self._open]
        async with self._db.transaction() as conn:
            process = await conn.scalar(text("SELECT pg_backend_pid()"))
        busy_s, began = _busy_s(process), time.perf_counter()
        await self._recording.load(rows, SpoolPosition(uuid.uuid4(), 1, 0))
        while await self._linking.link(wait=True):
            pass
        took_s = time.perf_counter() - began
        return took_s * 1000 / len(rows), (_busy_s(process) - busy_s) * 1000 / len(rows)

    async def close(self) -> None:
        await self._db.close()


async def store(few: str, many: str) -> list[tuple[float, float, float, float]]:
    """What a call costs in both, time and processor time, batch by batch in turns: neighbours disturb both alike."""
    recorders, found = (Recorder(few), Recorder(many)), list[tuple[float, float, float, float]]()
    for _ in range(BATCHES):
        in_few, in_many = [await recorder.batch() for recorder in recorders]
        found.append((*in_few, *in_many))
    for recorder in recorders:
        await recorder.close()
    return found[WARM_UP:]


def _busy_s(process: int) -> float:
    """Processor time so far, ours and that of the process of Postgres that all is written through."""
    return time.process_time() + int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9


def _row(said: list[bytes]) -> RequestRow:
    """The next call of a conversation, which says a message more and is answered."""
    said += [uuid.uuid4().bytes * 2 for _ in range(2)]
    *prefixes, answered = said
    digests = {"whole": prefixes[-1], "prefixes": b"".join(prefixes), "answered": answered}
    return RequestRow(
        id=uuid.uuid4(),
        created_at=datetime.now(UTC),
        caller="key",
        space="default",
        train_id="project-1",
        account_id="anthropic",
        method="POST",
        path="/v1/messages",
        model="claude-sonnet-4-5",
        status_code=200,
        input_tokens=700,
        output_tokens=150,
        duration_ms=900,
        request_body=b'{"messages": []}' * 32,
        response_body=b'{"content": []}' * 16,
        link=LinkRow(first=said[0], body_digest=prefixes[-1], ok=True, **digests),
    )


def beside(installation: Installation, count: int) -> Iterator[str]:
    """Databases of the same Postgres with ``count`` calls, one after the other; right after a checkpoint each time."""
    address = urlsplit(database_url(installation.home))
    few, copy = address._replace(path="/few").geturl(), address._replace(path="/copy").geturl()
    host = address.netloc.replace(ROLE, SUPERUSER)
    with psycopg.connect(address._replace(netloc=host, path="/postgres").geturl(), autocommit=True) as owner:
        owner.execute(f"CREATE DATABASE few OWNER {ROLE}".encode())
        migrate(few)
        with psycopg.connect(few, autocommit=True) as conn:
            fill(conn, 0, count)
        for _ in range(TIMES):
            owner.execute(f"CREATE DATABASE copy TEMPLATE few OWNER {ROLE}".encode())
            owner.execute("CHECKPOINT")
            yield copy
            owner.execute("DROP DATABASE copy (FORCE)")  # a connection may not have ended yet


def measured(installation: Installation, count: int, rounds: int) -> dict[str, tuple[float, float]]:
    """The median and the 95th percentile of every kind of answer."""
    return {what: summed(ask(installation, path, rounds)) for what, path in paths(count).items()}


def summed(times: list[float]) -> tuple[float, float]:
    return statistics.median(times), statistics.quantiles(times, n=20)[18]


def measure(options: argparse.Namespace) -> list[Figure]:
    with installed() as installation, psycopg.connect(database_url(installation.home), autocommit=True) as conn:
        fill(conn, 0, options.few)
        few = measured(installation, options.few, options.rounds)
        fill(conn, options.few, options.calls)
        many = measured(installation, options.calls, options.rounds)
        url = database_url(installation.home)
        stored = [batch for copy in beside(installation, options.few) for batch in asyncio.run(store(copy, url))]
    few_ms, few_busy_ms, many_ms, many_busy_ms = ([*column] for column in zip(*stored, strict=True))
    return [
        *(Figure(what, *few[what], *many[what]) for what in few),
        Figure("store and place a call", *summed(few_ms), *summed(many_ms)),
        Figure("store and place it, processor", *summed(few_busy_ms), *summed(many_busy_ms)),
    ]


def main() -> int:
    """1 when a must is missed."""
    parser = argparse.ArgumentParser(description="Measure what stored calls cost.")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    figures = measure(options)
    if options.json:
        rows: list[dict[str, Any]] = [{**asdict(one), "growth": one.growth, "verdict": one.verdict} for one in figures]
        print(json.dumps({"machine": machine(), "figures": rows}, indent=2))
    else:
        print(machine())
        print(f"{'ms':<34}{options.few:>10}{'p95':>8}{options.calls:>10}{'p95':>8}{'growth':>8}")
        for one in figures:
            print(one.printed())
    return 1 if any(one.verdict == "miss" for one in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
