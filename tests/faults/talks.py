"""Clients of the gateway at work: each holds one conversation, and remembers every byte that it was given."""

import asyncio
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import httpx2
import psycopg

_HELD_S = 30.0
_LONGEST = 60
_THINKS_S = 0.25


@dataclass
class Talk:
    """One client. ``seen`` is what came, by the ids of its calls, in their order; every other call is streamed."""

    url: str
    name: str
    headers: dict[str, str]
    messages: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, bytes] = field(default_factory=dict)
    failed: list[tuple[int, str]] = field(default_factory=list)
    over: bool = False

    async def go_on(self, http: httpx2.AsyncClient) -> None:
        """Say one thing more and hear the answer."""
        number = len(self.messages) // 2
        asked = [*self.messages, {"role": "user", "content": f"{self.name} says {number}. " + "x" * 300}]
        body = {"model": "scripted", "max_tokens": 100, "stream": number % 2 == 0, "messages": asked}
        answer = await http.post(f"{self.url}/v1/messages", json=body, headers=self.headers, timeout=_HELD_S)
        if answer.status_code != 200:
            self.failed.append((answer.status_code, answer.text))
            return
        self.seen[answer.headers["x-raworc-request-id"]] = answer.content
        self.messages = [*asked, {"role": "assistant", "content": said(answer.content, streamed=body["stream"])}]


async def talk_on(talks: list[Talk], *, calls: int, at_least_s: float = 0.0) -> None:
    """Every client goes on, all at once, until it made ``calls`` calls and the time is over.

    A conversation that grew long is over: its client begins another, which is added to ``talks``.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + at_least_s

    async def one(talk: Talk) -> None:
        made = 0
        async with httpx2.AsyncClient(trust_env=False) as http:
            while made < calls or loop.time() < ends:
                if len(talk.messages) >= _LONGEST:
                    talk.over = True
                    talk = Talk(talk.url, f"{talk.name} again", talk.headers)
                    talks.append(talk)
                await talk.go_on(http)
                made += 1
                if made > calls:  # a long outage is to be long, not to make more than can be linked soon
                    await asyncio.sleep(_THINKS_S)

    await asyncio.gather(*(one(talk) for talk in talks if not talk.over))


def said(answer: bytes, *, streamed: bool) -> str:
    """The text of an answer."""
    if not streamed:
        return str(json.loads(answer)["content"][0]["text"])
    events = [json.loads(line[6:]) for line in answer.decode().split("\n") if line.startswith("data: ")]
    return "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")


def placed(url: str) -> int:
    """How many calls are recorded and have a place in a conversation."""
    with psycopg.connect(url) as conn:
        found = conn.execute("SELECT count(*) FROM links WHERE conversation_id IS NOT NULL").fetchone()
        return int(found[0]) if found else 0


def ledger(url: str) -> dict[str, dict[str, Any]]:
    """What is recorded, by id, from the oldest on."""
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as conn:
        found = conn.execute(
            "SELECT a.id, a.created_at, a.conversation_id, a.parent_request_id, a.error_type, a.streamed,"
            " coalesce(b.stream, b.response_body) AS answer, b.offsets, b.at_ms"
            " FROM api_requests a LEFT JOIN request_bodies b ON b.id = a.id ORDER BY a.created_at, a.id"
        )
        return {str(row["id"]): row for row in found}


def faults(talk: Talk, rows: dict[str, dict[str, Any]]) -> list[str]:
    """What is wrong with the record of a client's calls; nothing is right."""
    wrong: list[str] = []
    ids = [row_id for row_id in rows if row_id in talk.seen]
    if ids != list(talk.seen):
        return [f"{talk.name}: {len(talk.seen)} calls, of which {len(ids)} are there, or not in their order"]
    if len({rows[row_id]["conversation_id"] for row_id in ids}) != 1:
        wrong.append(f"{talk.name}: its calls are in several conversations")
    for before, row_id in zip([None, *ids], ids, strict=False):
        row = rows[row_id]
        parent = row["parent_request_id"]
        if bytes(row["answer"]) != talk.seen[row_id]:
            wrong.append(f"{row_id}: another answer is recorded")
        if (str(parent) if parent else None) != before:
            wrong.append(f"{row_id}: follows {parent}, not {before}")
        if row["streamed"] and not (increases(row["offsets"]) and sorted(row["at_ms"]) == row["at_ms"]):
            wrong.append(f"{row_id}: chunks out of order: {row['offsets']} at {row['at_ms']}")
    return wrong


def increases(numbers: list[int]) -> bool:
    return all(one < other for one, other in itertools.pairwise(numbers))
