"""Placing recorded calls into conversations: in batches as they are loaded, or all over again.

One process at a time does it, under one lock of the database. A call that is loaded late, after others that started
later were placed, has the conversations which it might have changed made again; so the result depends on when calls
started and on nothing else.
"""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.conversations import WINDOW, Call, Known, Link, Node, is_late, place, session_conversation
from raworc.domain.digests import Digest
from raworc.store import links as store
from raworc.store.database import Database

BATCH: Final = 500  # as many as are loaded at once: what is done once a batch costs as much as placing a few
_SHORTEST_OPENING: Final = 100
_NEAR: Final = 4  # messages: the answer that a call goes on from, and what clients say besides


class Linking:
    """Places what has no place yet."""

    def __init__(self, db: Database, *, batch: int = BATCH) -> None:
        self._db = db
        self._batch = batch

    async def link(self, *, wait: bool = False) -> int:
        """Place the next calls; how many were.

        0 also when another process is at it, unless ``wait`` says to go on after it.

        Raises:
            Unavailable: the database is away. Nothing was decided.
        """

        async def work(conn: AsyncConnection) -> int:
            return await _next(conn, self._batch) if await store.lock(conn, wait=wait) else 0

        return await self._db.run(work)

    async def forget(self) -> None:
        """Undo every place; ``link`` finds them again. In between, and when this ends early, calls have none."""
        async with self._db.transaction() as conn:
            await store.clear(conn)


async def _next(conn: AsyncConnection, batch: int) -> int:
    calls = await store.unplaced(conn, batch)
    if not calls:
        return 0
    disturbed = await store.disturbed(conn, calls)
    while True:
        if disturbed:
            calls = await _with(conn, calls, disturbed)
        known = await _known(conn, calls)
        placed = _placed(calls, known)
        disturbed = {link.conversation_id for call, link in placed if is_late(call, link, known)}
        if not disturbed:
            await _save(conn, placed, known)
            return len(calls)


def _placed(calls: Sequence[Call], known: Known) -> list[tuple[Call, Link]]:
    found = [(call, place(call, known)) for call in calls]
    return [(call, link) for call, link in found if link is not None]


async def _with(conn: AsyncConnection, calls: Sequence[Call], remade: Collection[uuid.UUID]) -> list[Call]:
    """The calls in hand and those of the conversations to be made again, in order."""
    again = await store.of_conversations(conn, remade)
    await store.forget(conn, remade)
    return sorted([*calls, *again], key=lambda call: (call.at, call.id))


async def _known(conn: AsyncConnection, calls: Sequence[Call]) -> Known:
    """All that placing these calls may ask for."""
    known = Known()
    nodes = await _sharing(conn, calls)
    ages = sorted({(node.age, digest): node for digest, node in nodes}.items(), key=lambda item: item[0])
    for (_, digest), node in ages:
        known.nodes[node.call.space, node.call.session, digest].append(node)
    seats = {(call.space, call.key.session, agent or "") for call in calls if call.key for agent in _agents(call)}
    for node in sorted(await store.agents(conn, seats), key=lambda node: node.age):
        seat = (node.call.space, node.call.session or "", node.call.agent)
        known.agents[seat] = (known.agents[seat][0] if seat in known.agents else node, node)
    prompts = {(call.space, call.said.prompt) for call in calls if call.said.prompt is not None}
    for task in await store.tasks(conn, prompts):
        known.tasks[task.node.call.space, task.use.prompt].append(task)
    for space, (since, until) in _spans(calls).items():
        known.summaries[space].extend(await store.summaries(conn, space, since, until))
    known.continued.update(await store.continued(conn, [node for _, node in nodes]))
    known.conversations.update(await store.states(conn, _conversations(calls, known)))
    return known


async def _sharing(conn: AsyncConnection, calls: Sequence[Call]) -> list[tuple[Digest, Node]]:
    """The nodes that share the longest part of these calls, and of shorter parts those that placing them may ask for.

    Almost every call goes on from an answer that its last messages repeat: shorter parts of it are not looked for.
    """
    until = max(call.at for call in calls)
    nodes = await store.sharing(conn, [(call, call.said.prefixes[-_NEAR:]) for call in calls], until)
    found = {(node.call.space, node.call.session, digest) for digest, node in nodes}
    far: list[tuple[Call, Sequence[Digest]]] = []
    for call in calls:  # each may go on from those before it
        near = call.said.prefixes[-_NEAR:-1]  # the whole is left out: nodes that say just that are no parents
        if found.isdisjoint((call.space, call.session, digest) for digest in near):
            far.append((call, call.said.prefixes[:-_NEAR]))
        said = (call.said.whole, call.said.answered, call.said.response)
        found |= {(call.space, call.session, digest) for digest in said if digest is not None}
    return [*nodes, *await store.sharing(conn, far, until)]


def _agents(call: Call) -> set[str | None]:
    if call.is_held:
        return {call.agent}
    return {call.agent, call.key.parent} if call.key and call.agent is not None else set()


def _spans(calls: Sequence[Call]) -> dict[str, tuple[datetime, datetime]]:
    """Of each space with a call that may go on from a summary, when that summary may have been told."""
    spans: dict[str, tuple[datetime, datetime]] = {}
    for call in calls:
        if len(call.said.opening) >= _SHORTEST_OPENING:
            since, until = spans.get(call.space, (call.at, call.at))
            spans[call.space] = (min(since, call.at - WINDOW), max(until, call.at))
    return spans


def _conversations(calls: Sequence[Call], known: Known) -> set[uuid.UUID]:
    nodes = [node for group in known.nodes.values() for node in group]
    nodes += [node for group in known.summaries.values() for node in group]
    nodes += [task.node for group in known.tasks.values() for task in group]
    nodes += [node for seat in known.agents.values() for node in seat]
    return {node.link.conversation_id for node in nodes} | {session_conversation(call) for call in calls if call.key}


async def _save(conn: AsyncConnection, placed: Sequence[tuple[Call, Link]], known: Known) -> None:
    await store.save(conn, placed)
    taken = {(link.parent_task_id, link.task_use) for _, link in placed if link.parent_task_id and link.task_use}
    await store.save_tasks(conn, known.started, taken)
    states = {link.conversation_id: known.conversations[link.conversation_id] for _, link in placed}
    await store.add_up(conn, [call for call, _ in placed], states)
