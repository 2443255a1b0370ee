"""Malformed model calls: no failure of ours, no hang, no memory that stays, nothing odd passed on, others served.

What is recorded of them makes rows like any other call's.
"""

import asyncio
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy import text

from faults import host
from faults.assault import Assault, Outcome, assaults, outcome
from faults.callassault import call_kinds
from faults.counts import Counts
from gateprocess import gate_process
from raworc.recorder.loop import Placing, Recorder
from raworc.services.recording import Recording
from raworc.store.database import Database
from standin import Seen, answers, json_answer, standin

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

_SEED = 20_261_129
_AT_ONCE = 48
_PATIENCE_S = 1.0
_HANG_S = 15.0
_MAX_GROWTH_MB = 24.0
_LORISES = 60
_CALL = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
_LINE = re.compile(rb"[A-Z]+ /v1/[\x21-\x7e]* HTTP/1\.1")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_UNTOLD = {b"transfer-encoding", b"te", b"upgrade", b"proxy-authorization", b"msl-train-id", b"x-raworc-request-id"}


async def test_they_harm_nobody(home: Path, db: Database, counts: Counts) -> None:
    answer = json_answer(b'{"type":"message","content":[]}')
    async with standin(answers(answer)) as upstream, gate_process(home, upstream.url, _PATIENCE_S) as (process, at):
        made = assaults(_SEED, at["token"], call_kinds())
        await attack(islice(made, max(counts.malformed // 8, _AT_ONCE)), at)
        before_mb = host.memory_mb(process.pid)
        calling = asyncio.create_task(well_behaved(at))
        found = await attack(islice(made, counts.malformed), at)
        calling.cancel()
        served = await calling
        growth_mb = host.memory_mb(process.pid) - before_mb
        odd = [(faults, seen) for seen in upstream.seen if (faults := oddities(seen))]
    assert [
        (made.kind, made.pieces, left.statuses) for made, left in found if max(left.statuses, default=0) >= 500
    ] == []
    assert [made for made, left in found if left.hung] == []
    assert odd == []
    print(f"{len(found)} calls, {growth_mb:.1f} MB")  # noqa: T201  they are for people
    assert growth_mb <= _MAX_GROWTH_MB
    assert served.keys() == {200}
    assert served[200] > 10
    statuses = Counter(status for _, left in found for status in left.statuses)
    assert {200, 400, 408} <= statuses.keys(), statuses

    recorder = Recorder(Recording(db, "node"), Placing.over(db), spool_dir=home / "spool", run_dir=home / "run")
    assert await recorder.load_all() > counts.malformed / 2
    async with db.reading() as conn:
        odd = "bodies NOT IN ('kept', 'omitted') OR error_type = 'internal_error'"
        bad = await conn.execute(text(f"SELECT path, error_type, bodies FROM requests WHERE {odd}"))  # noqa: S608  written above
        assert bad.all() == []


async def test_slow_ones_are_told_and_closed(home: Path) -> None:
    """As many as there are, and whatever part is slow; beside them calls are served."""
    head = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nx-api-key: %b\r\nContent-Length: 900\r\n"
    async with (
        standin(answers(json_answer(b"{}"))) as upstream,
        gate_process(home, upstream.url, _PATIENCE_S) as (_, at),
    ):
        whole = head % at["token"].encode()
        heads = [Assault("head", [whole[:cut]]) for cut in range(10, len(whole), 10)]
        bodies = [Assault("body", [whole + b"\r\n" + b"x" * sent]) for sent in range(0, 900, 100)]
        slow = ((heads + bodies) * _LORISES)[:_LORISES]
        calling = asyncio.create_task(well_behaved(at))
        left = await asyncio.gather(*(kept_open(made, at) for made in slow))
        calling.cancel()
        served = await calling
    assert Counter(tuple(one.statuses) for one in left) == {(408,): _LORISES}
    assert not any(one.hung for one in left)
    assert served.keys() == {200}


async def attack(made: Any, at: dict[str, str]) -> list[tuple[Assault, Outcome]]:
    """Make them, several at once; what became of each."""
    parts, found = urlsplit(at["url"]), list[tuple[Assault, Outcome]]()

    async def attacker() -> None:
        for one in made:
            found.append((one, await outcome(one, str(parts.hostname), int(parts.port or 0), limit_s=_HANG_S)))

    await asyncio.gather(*(attacker() for _ in range(_AT_ONCE)))
    return found


async def kept_open(made: Assault, at: dict[str, str]) -> Outcome:
    """What became of one, once the server closed its connection."""
    parts, found = urlsplit(at["url"]), Outcome(hung=True)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(made.pieces[0])
    async with asyncio.timeout(_HANG_S):
        said = await reader.read()
        found.hung = False
    found.statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]
    writer.close()
    return found


async def well_behaved(at: dict[str, str]) -> Counter[int]:
    """The statuses of calls as they should be, until it is cancelled."""
    statuses = Counter[int]()
    async with httpx2.AsyncClient(trust_env=False, timeout=_HANG_S) as http:
        try:
            while True:
                answer = await http.post(f"{at['url']}/v1/messages", json=_CALL, headers={"x-api-key": at["token"]})
                statuses[answer.status_code] += 1
        except asyncio.CancelledError:
            return statuses


def oddities(seen: Seen) -> list[str]:
    """What no provider should ever be sent, of one request that it was sent."""
    names = [name.lower() for name, _ in seen.headers]
    found = [] if _LINE.fullmatch(seen.line) else [f"line {seen.line!r}"]
    found += [f"header {name!r}: {value!r}" for name, value in seen.headers if not _NAME.fullmatch(name)]
    found += [f"header {name!r}: {value!r}" for name, value in seen.headers if not _VALUE.fullmatch(value)]
    found += [f"{name!r} passed on" for name in names if name in _UNTOLD]
    for once in (b"host", b"accept-encoding"):
        if names.count(once) != 1:
            found.append(f"{once!r} {names.count(once)} times")
    credentials = sorted(name for name in names if name in {b"x-api-key", b"authorization"})
    if credentials not in ([b"x-api-key"], [b"authorization"]):
        found.append(f"credentials {credentials}")
    lengths = names.count(b"content-length")
    if lengths != 1 and (lengths or seen.line.startswith(b"POST")):
        found.append(f"{lengths} lengths")
    return found
