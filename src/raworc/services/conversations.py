"""Conversations as the dashboard shows them: of every space that the caller may look into."""

import uuid
from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import may
from raworc.domain.ledger import Chosen
from raworc.errors import Hidden, NotFound
from raworc.services.accounts import Caller
from raworc.services.ledger import RESOURCE, visible
from raworc.services.requests import RequestView
from raworc.store import conversations as store
from raworc.store import ledger
from raworc.store.conversations import BranchRow, ConversationRow
from raworc.store.database import Database

__all__ = [
    "BranchRow",
    "ConversationDetails",
    "ConversationPage",
    "ConversationRow",
    "ConversationView",
    "Conversations",
]


@dataclass(frozen=True)
class ConversationView:
    """A conversation and its branches, the oldest first."""

    row: ConversationRow
    branches: list[BranchRow]


@dataclass(frozen=True)
class ConversationPage:
    """Some conversations, and how many there are on all pages."""

    conversations: list[ConversationView]
    total: int


@dataclass(frozen=True)
class ConversationDetails:
    """One conversation and a page of its calls, the oldest first."""

    view: ConversationView
    calls: list[RequestView]


class Conversations:
    """Pages of conversations, and single ones."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, caller: Caller, chosen: Chosen, *, limit: int, offset: int) -> ConversationPage:
        """Conversations that were last used in the period and that the caller may see, the last used first."""
        chosen = visible(caller, chosen)
        async with self._db.reading() as conn:
            total = await store.count(conn, chosen)
            rows = await store.page(conn, chosen, limit=limit, offset=offset) if offset < total else []
            return ConversationPage(await views(conn, rows), total)

    async def find(self, caller: Caller, conversation_id: uuid.UUID, *, limit: int, offset: int) -> ConversationDetails:
        """One conversation with a page of its calls.

        Raises:
            NotFound: there is none.
            Hidden: there is one that the caller may not see.
        """
        async with self._db.reading() as conn:
            row = await store.find(conn, conversation_id)
            if row is None:
                raise NotFound(f"Conversation '{conversation_id}' not found")
            if not may(caller.grants, "get", RESOURCE, space=row.space or None):
                raise Hidden(f"Conversation '{conversation_id}' not found")
            (view,) = await views(conn, [row])
            calls = await ledger.of_conversation(conn, conversation_id, limit=limit, offset=offset)
        return ConversationDetails(view, [RequestView(**vars(call)) for call in calls])


async def views(conn: AsyncConnection, rows: list[ConversationRow]) -> list[ConversationView]:
    """These conversations with their branches."""
    found: dict[uuid.UUID, list[BranchRow]] = defaultdict(list)
    for branch in await store.branches(conn, [row.id for row in rows]) if rows else []:
        found[branch.conversation_id].append(branch)
    return [ConversationView(row, found[row.id]) for row in rows]
