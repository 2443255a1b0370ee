"""What was used: sums of recorded model calls over the spaces that the caller may look into, and account windows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.clock import now
from raworc.domain.ledger import Chosen
from raworc.domain.periods import BEGINNING, END, day_of, hour_of
from raworc.domain.usage import RequestType
from raworc.domain.windows import LENGTH, Told, told_of
from raworc.services.accounts import Caller
from raworc.services.ledger import visible
from raworc.store import conversations, ledger, windows
from raworc.store import usage as store
from raworc.store.database import Database
from raworc.store.usage import Sums

__all__ = ["Current", "Daily", "Day", "Stats", "Sums", "Totals", "Usage", "Window"]

RESOURCE: Final = "usage"
ALL: Final = "all"
NOBODY: Final = "default"
_LOOK_BACK: Final = timedelta(days=30)


@dataclass(frozen=True)
class Totals:
    """Sums of all calls, and apart by train and kind of call, and by model."""

    all: Sums
    by_train: dict[tuple[str, RequestType], Sums]
    by_model: dict[str, Sums]


@dataclass(frozen=True)
class Stats:
    """The figures of a period. ``subtasks``: how many began in it."""

    sums: Sums
    trains: int
    subtasks: int
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Day:
    """One day (UTC), by its beginning."""

    at: datetime
    sums: Sums
    by_model: dict[str, Sums]


@dataclass(frozen=True)
class Daily:
    """Every day of a period, the oldest first; ``account_id`` is ``all`` where none was asked for."""

    account_id: str
    days: list[Day]
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Window:
    """Five hours of an account. ``start`` is None between two windows; ``end`` is when the next one would end, then."""

    account_id: str
    start: datetime | None
    end: datetime


@dataclass(frozen=True)
class Current:
    """What is used of an account's window.

    ``limit``: input and output tokens. It is worked out from what the provider ``told``, or else it is the
    largest window of the last 30 days; ``source`` says which. ``share``: what is used of it, 1 for all of it.
    """

    window: Window
    used: int
    limit: int
    share: float
    source: Literal["provider", "observed"]
    told: Told | None
    by_type: dict[RequestType, Sums]


class Usage:
    """Sums for people and programs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def totals(self, caller: Caller, chosen: Chosen) -> Totals:
        """Sums of all time, or of the period that was asked for."""
        async with self._db.reading() as conn:
            chosen = await _told_apart(conn, visible(caller, chosen, RESOURCE))
            found = await store.sums(conn, chosen, ["train_id", "model", "request_type"])
        by_train: dict[tuple[str, RequestType], Sums] = {}
        by_model: dict[str, Sums] = {}
        for (train, model, kind), sums in found.items():
            by_train[train, kind] = by_train.get((train, kind), Sums()) + sums
            by_model[model] = by_model.get(model, Sums()) + sums
        return Totals(_added(by_model), by_train, by_model)

    async def stats(self, caller: Caller, chosen: Chosen) -> Stats:
        """The figures of the last 24 hours, or of the period that was asked for."""
        end = min(chosen.end, now())
        start = chosen.start if chosen.start > BEGINNING else end - timedelta(days=1)
        async with self._db.reading() as conn:
            chosen = await _told_apart(conn, replace(visible(caller, chosen, RESOURCE), start=start))
            found = await store.sums(conn, chosen, ["train_id"])
            subtasks = await conversations.subtasks(conn, chosen)
        return Stats(_added(found), len(found), subtasks, chosen.start, max(end, chosen.start))

    async def daily(self, caller: Caller, chosen: Chosen, days: int) -> Daily:
        """Every day of the last ``days``, today included, or of the period that was asked for; gaps are zeros."""
        today = day_of(now())
        end = day_of(chosen.end - timedelta(microseconds=1)) if chosen.end < END else today
        start = day_of(chosen.start) if chosen.start > BEGINNING else end - timedelta(days=days - 1)
        chosen = replace(visible(caller, chosen, RESOURCE), start=start, end=end + timedelta(days=1))
        async with self._db.reading() as conn:
            found = await store.sums(conn, await _told_apart(conn, chosen), ["day", "model"])
        shown: list[Day] = []
        for number in range(max((end - start).days + 1, 0)):
            at = start + timedelta(days=number)
            by_model = {model: sums for (day, model), sums in found.items() if day == at}
            shown.append(Day(at, _added(by_model), by_model))
        return Daily(chosen.account_id or ALL, shown, start, chosen.end)

    async def current(self, caller: Caller, chosen: Chosen) -> Current:
        """The window that an account is in; of the account that was used last where none was asked for.

        When a window began is told by all calls of the account, what was used of it by those the caller may see.
        """
        chosen, at = visible(caller, chosen, RESOURCE), now()
        async with self._db.reading() as conn:
            account_id = chosen.account_id or await store.newest_account(conn, chosen) or NOBODY
            started = await windows.last(conn, account_id)
            start = started if started is not None and at < started + LENGTH else None
            found: dict[tuple[Any, ...], Sums] = {}
            told = None
            if start is not None:
                chosen = replace(chosen, account_id=account_id, start=start, end=start + LENGTH)
                found = await store.sums(conn, chosen, ["request_type"])
                told = told_of(await windows.answers(conn, account_id, start))
            largest = await windows.largest(conn, account_id, at - _LOOK_BACK)
        window = Window(account_id, start, (start or at) + LENGTH)
        return _current(window, {kind: sums for (kind,), sums in found.items()}, told, largest)


def _current(window: Window, by_type: dict[RequestType, Sums], told: Told | None, largest: int) -> Current:
    used = sum(sums.total_tokens for sums in by_type.values())
    if told is not None and told.share > 0 and used:
        limit = round(used / told.share)
        return Current(window, used, limit, told.share, "provider", told, by_type)
    limit = max(largest, used)
    return Current(window, used, limit, used / limit if limit else 0.0, "observed", told, by_type)


def _added(parts: Mapping[Any, Sums]) -> Sums:
    return sum(parts.values(), Sums())


async def _told_apart(conn: AsyncConnection, chosen: Chosen) -> Chosen:
    """Where the calls themselves are gone, only whole hours can be told apart: the period grows to them."""
    since = await ledger.kept_since(conn)
    if since is None:
        return chosen
    if chosen.outcome.failed is not None:  # nobody knows which of those that are gone had failed
        return replace(chosen, start=max(chosen.start, since), end=max(chosen.end, since))
    start = hour_of(chosen.start) if chosen.start < since else chosen.start
    end = hour_of(chosen.end - timedelta(microseconds=1)) + timedelta(hours=1) if chosen.end < since else chosen.end
    return replace(chosen, start=start, end=end)
