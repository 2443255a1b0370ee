"""Recorded model calls as the recorder hands them over, made up, stored and placed."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from raworc.services.linking import Linking
from raworc.services.recording import Recording
from raworc.store.database import Database
from raworc.store.recordings import LinkRow, RequestRow, SpoolPosition


def call(at: datetime, said: bytes = b"", **more: object) -> RequestRow:
    """A call that began ``at``. With ``said`` (at most 32 bytes) it is in the conversation of those that say so."""
    values: dict = {
        "id": uuid.uuid4(),
        "created_at": at,
        "caller": "key",
        "space": "default",
        "train_id": "project",
        "account_id": "anthropic",
        "method": "POST",
        "path": "/v1/messages",
        "model": "claude-sonnet-4-5",
        "status_code": 200,
        "input_tokens": 100,
        "output_tokens": 10,
        "cost_usd": Decimal("0.25"),
        "price_version": "p",
        "duration_ms": 40,
        "message_count": 1,
    }
    if said:
        digest = said.ljust(32, b".")
        values["link"] = LinkRow(first=digest, whole=digest, prefixes=digest, body_digest=digest, ok=True)
    return RequestRow(**(values | more))


async def load(db: Database, calls: Sequence[RequestRow]) -> int:
    """Store calls; how many were new."""
    return await Recording(db, "node").load(calls, SpoolPosition(uuid.uuid4(), 1, 0))


async def place(db: Database) -> None:
    """Find the conversations of all that have none."""
    while await Linking(db).link():
        pass


async def store(db: Database, calls: Sequence[RequestRow]) -> None:
    """Store calls and find their conversations."""
    await load(db, calls)
    await place(db)
