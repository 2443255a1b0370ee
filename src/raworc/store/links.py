"""Reading and writing where recorded calls stand in their conversations. Times and digests are the calls' own."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.conversations import (
    MOST_CANDIDATES,
    MOST_SUMMARIES,
    WINDOW,
    Call,
    Conversation,
    Link,
    Node,
    SessionKey,
    Task,
)
from raworc.domain.digests import Digest, Fingerprint, TaskUse
from raworc.store import link_statements as sql
from raworc.store.statement import repeated

_LOCK: Final = 7_236_903
_DIGEST: Final = 32


async def lock(conn: AsyncConnection, *, wait: bool = False) -> bool:
    """Be the only one that places calls, for this transaction; False when another one is, unless it was waited for."""
    if wait:
        await repeated(conn, "SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        return True
    return bool(await _value(conn, "SELECT pg_try_advisory_xact_lock(%s)", [_LOCK]))


async def unplaced(conn: AsyncConnection, limit: int) -> list[Call]:
    """The oldest calls that have no place yet."""
    return [_call(row) for row in await repeated(conn, sql.UNPLACED, [limit])]


async def of_conversations(conn: AsyncConnection, conversation_ids: Collection[uuid.UUID]) -> list[Call]:
    """Every call of these conversations."""
    return [_call(row) for row in await repeated(conn, sql.OF_CONVERSATIONS, [list(conversation_ids)])]


async def disturbed(conn: AsyncConnection, calls: Sequence[Call]) -> set[uuid.UUID]:
    """The conversations with later calls that might stand elsewhere, had these calls been known in time."""
    wanted = {
        "at": [call.at for call in calls],
        "id": [call.id for call in calls],
        "space": [call.space for call in calls],
        "session": [call.session or "" for call in calls],
        "first": [call.said.prefixes[0] for call in calls],
        "response": [call.said.response for call in calls],
    }
    found = await repeated(conn, sql.DISTURBED, wanted)
    prompts = [(call, use) for call in calls for use in call.said.tasks]
    if prompts:
        started = {
            "at": [call.at for call, _ in prompts],
            "space": [call.space for call, _ in prompts],
            "prompt": [use.prompt for _, use in prompts],
        }
        found += await repeated(conn, sql.DISTURBED_TASKS, started)
    for call in calls:
        if call.said.summary is not None and call.ok:
            summed = {"space": call.space, "at": call.at, "until": call.at + WINDOW, "probe": call.said.summary}
            found += await repeated(conn, sql.DISTURBED_SUMMARIES, summed)
    return {row["conversation_id"] for row in found}


async def sharing(
    conn: AsyncConnection, wanted: Sequence[tuple[Call, Sequence[Digest]]], until: datetime
) -> list[tuple[Digest, Node]]:
    """The newest nodes until then that say what these prefixes of these calls say, with the digest that found them."""
    keys = {
        (call.space, call.session or "", call.said.prefixes[0], digest)
        for call, digests in wanted
        for digest in digests
    }
    if not keys:
        return []
    spaces, sessions, firsts, digests = zip(*sorted(keys), strict=True)
    parameters = {"space": [*spaces], "session": [*sessions], "first": [*firsts], "digest": [*digests]}
    parameters |= {"bound": until, "limit": MOST_CANDIDATES}
    return [(row["digest"], _node(row)) for row in await repeated(conn, sql.SHARING, parameters)]


async def agents(conn: AsyncConnection, keys: Collection[tuple[str, str, str]]) -> list[Node]:
    """The first and the newest node of each of these agents (space, session, agent)."""
    spaces, sessions, names = zip(*sorted(keys), strict=True) if keys else ((), (), ())
    parameters = {"space": [*spaces], "session": [*sessions], "agent": [*names]}
    return [_node(row) for row in await repeated(conn, sql.AGENTS, parameters)]


async def tasks(conn: AsyncConnection, prompts: Collection[tuple[str, Digest]]) -> list[Task]:
    """Subtasks with these prompts (space, digest), oldest first, that nobody has begun."""
    spaces, digests = zip(*sorted(prompts), strict=True) if prompts else ((), ())
    found = await repeated(conn, sql.TASKS, {"space": [*spaces], "prompt": [*digests]})
    return [Task(_node(row), TaskUse(row["tool_use_id"], row["task_prompt"]), row["number"]) for row in found]


async def summaries(conn: AsyncConnection, space: str, since: datetime, until: datetime) -> list[Node]:
    """Nodes whose answer sums a conversation up, oldest first."""
    parameters = {"space": space, "since": since, "until": until, "limit": MOST_SUMMARIES}
    return [_node(row) for row in reversed(await repeated(conn, sql.SUMMARIES, parameters))]


async def continued(conn: AsyncConnection, nodes: Collection[Node]) -> dict[uuid.UUID, Digest]:
    """Of each node, the digest of its first child, which is in its conversation."""
    conversations = {node.id: node.link.conversation_id for node in nodes}
    rows = await repeated(conn, sql.CONTINUED, {"ids": [*conversations], "conversations": [*conversations.values()]})
    return {row["parent_id"]: row["whole"] for row in rows}


async def states(conn: AsyncConnection, conversation_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Conversation]:
    """What placing needs to know of these conversations."""
    rows = await repeated(conn, sql.STATES, [list(conversation_ids)])
    return {row["id"]: _state(row) for row in rows}


def _state(row: dict[str, Any]) -> Conversation:
    branches = frozenset[str](row["branches"])
    return Conversation(row["last_at"], branches, set(branches), row["numbers"], row["main_taken"])


async def forget(conn: AsyncConnection, conversation_ids: Collection[uuid.UUID]) -> None:
    """Undo the placing of every call of these conversations."""
    for statement in sql.FORGET:
        await repeated(conn, statement, {"ids": list(conversation_ids)})


async def save(conn: AsyncConnection, placed: Sequence[tuple[Call, Link]]) -> None:
    """Store where these calls stand."""
    columns = list(zip(*[_link_values(call, link) for call, link in placed], strict=True))
    await repeated(conn, sql.SAVE, [list(column) for column in columns])


async def save_tasks(conn: AsyncConnection, started: Sequence[Task], taken: Collection[tuple[uuid.UUID, str]]) -> None:
    """Store the subtasks that were started, and which (request, tool use) have begun."""
    if started:
        columns = zip(*[_task_values(task) for task in started], strict=True)
        await repeated(conn, sql.SAVE_TASKS, [list(column) for column in columns])
    if taken:
        await repeated(conn, sql.TAKE, [list(column) for column in zip(*sorted(taken), strict=True)])


async def add_up(conn: AsyncConnection, calls: Sequence[Call], states: Mapping[uuid.UUID, Conversation]) -> None:
    """Add calls that were just placed to the sums of their conversations, which stand as ``states`` says."""
    times = [call.at for call in calls]
    added = {"ids": [call.id for call in calls], "at": times, "since": min(times), "until": max(times)}
    await repeated(conn, sql.ADD_BRANCHES, added)
    standing = list(states.values())
    stand = {
        "standing": [*states],
        "subtasks": [state.subtasks for state in standing],
        "numbers": [state.numbers for state in standing],
        "heads": [state.main_taken for state in standing],
    }
    await repeated(conn, sql.ADD_CONVERSATIONS, added | stand)


async def clear(conn: AsyncConnection) -> None:
    """Undo the placing of every call."""
    for statement in sql.CLEAR:
        await repeated(conn, statement, [])


def _link_values(call: Call, link: Link) -> tuple[object, ...]:
    return (
        *(call.id, call.at, link.conversation_id, link.branch_id, link.source, link.parent_id, link.parent_digest),
        *(link.retry_of, link.is_subtask, link.parent_task_id, link.task_use),
    )


def _task_values(task: Task) -> tuple[object, ...]:
    call, link = task.node.call, task.node.link
    return call.id, task.number, link.conversation_id, task.use.tool_use_id, call.space, task.use.prompt, call.at


def _node(row: dict[str, Any]) -> Node:
    link = Link(
        row["conversation_id"],
        row["branch_id"],
        row["source"],
        parent_id=row["parent_id"],
        parent_digest=row["parent_digest"],
        retry_of=row["retry_of"],
        is_subtask=row["is_subtask"],
        parent_task_id=row["parent_task_id"],
        task_use=row["task_use"],
    )
    return Node(_call(row), link)


def _call(row: dict[str, Any]) -> Call:
    prefixes: bytes = row.get("prefixes") or row["whole"]
    said = Fingerprint(
        prefixes=tuple(prefixes[at : at + _DIGEST] for at in range(0, len(prefixes), _DIGEST)),
        answered=row["answered"],
        prompt=row["prompt"],
        opening=row.get("opening") or "",
        tasks=tuple(TaskUse(use, bytes.fromhex(prompt)) for use, prompt in row.get("tasks") or ()),
        summary=row["summary"],
        response=row["response"],
    )
    named = SessionKey(row["session"], row["agent"] or None, row["parent_agent"] or None) if row["session"] else None
    return Call(
        id=row["id"],
        at=row["created_at"],
        space=row["space"],
        train_id=row["train_id"],
        said=said,
        body=row["body_digest"],
        ok=row["ok"],
        side=row["side"],
        system=row["system_digest"],
        key=named,
    )


async def _value(conn: AsyncConnection, statement: str, parameters: object) -> Any:  # noqa: ANN401  a column's value
    rows = await repeated(conn, statement, parameters)
    return next(iter(rows[0].values())) if rows else None
