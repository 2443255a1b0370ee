"""Hints between processes by LISTEN and NOTIFY. A lost one costs a poll interval, never correctness.

Channel ``raworc_work`` carries a session id: something there wants an operator. Channel ``raworc_events``
carries JSON: a new event of a session, or a piece of a running model call's text. Channel ``raworc_accounts``
carries an account id: what it may do has changed. Channel ``raworc_calls`` carries the number of the model call
that was recorded last. Channel ``raworc_builds`` carries the id of a build that waits, ``raworc_logs`` that of an
agent whose handler has said something.
"""

import asyncio
import contextlib
import itertools
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import psycopg
import structlog
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.database import CONNECT_TIMEOUT_S

WORK: Final = "raworc_work"
EVENTS: Final = "raworc_events"
ACCOUNTS: Final = "raworc_accounts"
CALLS: Final = "raworc_calls"
BUILDS: Final = "raworc_builds"
LOGS: Final = "raworc_logs"
MAX_PAYLOAD_BYTES: Final = 7168  # Postgres allows 8,000
_QUEUE_LIMIT: Final = 1024
_BACKOFF_S: Final = (0.1, 2.0)

log = structlog.get_logger()


@dataclass(frozen=True)
class WorkNotice:
    """A session wants an operator to look at it."""

    session_id: uuid.UUID


@dataclass(frozen=True)
class EventNotice:
    """A session's stored events go up to ``event_seq`` now. Without ``settles`` none of the new ones ends a turn."""

    session_id: uuid.UUID
    event_seq: int
    settles: bool = True


@dataclass(frozen=True)
class DeltaNotice:
    """A piece of text of a running model call. Not stored anywhere."""

    session_id: uuid.UUID
    turn_id: uuid.UUID
    channel: str
    text: str


@dataclass(frozen=True)
class AccountNotice:
    """An account may do more or less than before, or is gone."""

    account_id: uuid.UUID


@dataclass(frozen=True)
class CallNotice:
    """Recorded model calls go up to ``number`` now."""

    number: int


@dataclass(frozen=True)
class BuildNotice:
    """A build waits for somebody."""

    build_id: uuid.UUID


@dataclass(frozen=True)
class LogNotice:
    """There are new lines in an agent's log."""

    agent_id: uuid.UUID


Notice = WorkNotice | EventNotice | DeltaNotice | AccountNotice | CallNotice | BuildNotice | LogNotice


class _Payload(msgspec.Struct, omit_defaults=True):
    session: uuid.UUID
    event: int | None = None
    settles: bool = True
    turn: uuid.UUID | None = None
    channel: str = ""
    text: str = ""
    part: int = 0  # differs always: Postgres delivers equal notices of one transaction once only


async def notify_work(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """Tell operators, once this transaction commits, that a session has work."""
    await _notify(conn, WORK, str(session_id))


async def notify_event(conn: AsyncConnection, session_id: uuid.UUID, event_seq: int) -> None:
    """Tell servers, once this transaction commits, that a session's events go up to ``event_seq``."""
    await _notify(conn, EVENTS, _encode(_Payload(session_id, event=event_seq)).decode())


async def notify_account(conn: AsyncConnection, account_id: uuid.UUID) -> None:
    """Tell servers, once this transaction commits, to look again at who an account is."""
    await _notify(conn, ACCOUNTS, str(account_id))


async def notify_calls(conn: AsyncConnection, number: int) -> None:
    """Tell servers, once this transaction commits, that recorded model calls go up to ``number``."""
    await _notify(conn, CALLS, str(number))


async def notify_build(conn: AsyncConnection, build_id: uuid.UUID) -> None:
    """Tell operators, once this transaction commits, that a build waits."""
    await _notify(conn, BUILDS, str(build_id))


async def notify_log(conn: AsyncConnection, agent_id: uuid.UUID) -> None:
    """Tell servers, once this transaction commits, that an agent's log has new lines."""
    await _notify(conn, LOGS, str(agent_id))


async def notify_delta(
    conn: AsyncConnection, session_id: uuid.UUID, turn_id: uuid.UUID, channel: str, text: str
) -> None:
    """Pass running text on, in as many notices as Postgres' limit asks for, in order."""
    for payload in _split(_Payload(session_id, turn=turn_id, channel=channel, text=text)):
        await _notify(conn, EVENTS, payload.decode())


class Subscription:
    """Notices in order of arrival. ``overflowed`` says that some were lost: read the tables, then clear it."""

    def __init__(self) -> None:
        self.overflowed = False
        self._waiting: deque[Notice] = deque()
        self._ready = asyncio.Event()

    async def get(self, timeout_s: float) -> Notice | None:
        """The next notice; None after ``timeout_s``, or at once when notices were lost."""
        if not self._waiting:
            self._ready.clear()
            if self.overflowed:
                return None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._ready.wait()
        return self._waiting.popleft() if self._waiting else None

    def put(self, notice: Notice) -> None:
        """Add a notice; the listener's side."""
        if len(self._waiting) >= _QUEUE_LIMIT:
            self.lose()
            return
        self._waiting.append(notice)
        self._ready.set()

    def lose(self) -> None:
        """Say that notices were lost; the listener's side."""
        self._waiting.clear()
        self.overflowed = True
        self._ready.set()


class Listener:
    """One connection that listens for as long as the object is open, and comes back whenever it breaks."""

    def __init__(self, url: str, channels: Sequence[str]) -> None:
        self._url = url
        self._channels = tuple(channels)
        self._subscribers: dict[str | None, set[Subscription]] = {}
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._begun()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @asynccontextmanager
    async def subscribe(self, key: uuid.UUID | str | None) -> AsyncGenerator[Subscription]:
        """Notices from now on: of one session or agent (its id), of all sessions (None), of a channel."""
        name = None if key is None else str(key)
        subscription = Subscription()
        self._subscribers.setdefault(name, set()).add(subscription)
        try:
            yield subscription
        finally:
            self._subscribers[name].discard(subscription)
            if not self._subscribers[name]:
                del self._subscribers[name]

    async def _begun(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._keep_listening(), name="listener")
        with contextlib.suppress(TimeoutError):  # it goes on trying; polls do the work until then
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._listening.wait()

    async def _keep_listening(self) -> None:
        delay_s = _BACKOFF_S[0]
        while True:
            try:
                async for notify in self._notices():
                    delay_s = _BACKOFF_S[0]
                    self._deliver(notify)
            except psycopg.Error as error:
                log.info("listener lost its connection", reason=str(error).strip(), retry_in_s=delay_s)
            self._listening.clear()
            self._tell_loss()
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _BACKOFF_S[1])

    async def _notices(self) -> AsyncIterator[psycopg.Notify]:
        conn = await psycopg.AsyncConnection[Any].connect(
            self._url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="raworc listener"
        )
        async with conn:
            for channel in self._channels:
                await conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self._tell_loss()  # whatever was said before this moment went by unheard
            self._listening.set()
            async for notify in conn.notifies():
                yield notify

    def _deliver(self, notify: psycopg.Notify) -> None:
        notice = _decode(notify.channel, notify.payload)
        if notice is None:
            return
        for key in self._keys(notice):
            for subscription in self._subscribers.get(key, ()):
                subscription.put(notice)

    def _keys(self, notice: Notice) -> tuple[str | None, ...]:
        if isinstance(notice, AccountNotice):
            return tuple(self._subscribers)
        if isinstance(notice, BuildNotice):
            return (BUILDS,)
        if isinstance(notice, LogNotice):
            return (str(notice.agent_id),)
        return (CALLS,) if isinstance(notice, CallNotice) else (str(notice.session_id), None)

    def _tell_loss(self) -> None:
        for group in self._subscribers.values():
            for subscription in group:
                subscription.lose()


class ListenerOnDemand(Listener):
    """Listens only while somebody subscribes: for channels that say much which mostly nobody wants to hear."""

    def __init__(self, url: str, channels: Sequence[str]) -> None:
        super().__init__(url, channels)
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        await asyncio.gather(*self._ending, return_exceptions=True)

    @asynccontextmanager
    async def subscribe(self, key: uuid.UUID | str | None) -> AsyncGenerator[Subscription]:
        """As a ``Listener``'s; the first one waits for the connection."""
        try:
            async with super().subscribe(key) as subscription:
                await self._begun()
                yield subscription
        finally:
            if not self._subscribers:
                self._end()

    def _end(self) -> None:
        task, self._task = self._task, None
        self._listening.clear()
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


async def _notify(conn: AsyncConnection, channel: str, payload: str) -> None:
    await conn.execute(_NOTIFY, {"channel": channel, "payload": payload})


_parts = itertools.count(1)
_NAMING = {WORK: WorkNotice, ACCOUNTS: AccountNotice, BUILDS: BuildNotice, LOGS: LogNotice}
_NOTIFY = text("SELECT pg_notify(:channel, :payload)")
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(_Payload)


def _split(payload: _Payload) -> list[bytes]:
    encoded = _encode(payload)
    if len(encoded) <= MAX_PAYLOAD_BYTES or len(payload.text) < 2:  # noqa: PLR2004  one character always fits
        return [_encode(msgspec.structs.replace(payload, part=next(_parts)))]
    middle = len(payload.text) // 2
    halves = (payload.text[:middle], payload.text[middle:])
    return [part for half in halves for part in _split(msgspec.structs.replace(payload, text=half))]


def _decode(channel: str, payload: str) -> Notice | None:
    try:
        if channel in _NAMING:
            return _NAMING[channel](uuid.UUID(payload))
        if channel == CALLS:
            return CallNotice(int(payload))
        body = _decoder.decode(payload)
    except (ValueError, msgspec.MsgspecError):
        log.warning("notice not understood", channel=channel)
        return None
    if body.turn is not None:
        return DeltaNotice(body.session, body.turn, body.channel, body.text)
    return None if body.event is None else EventNotice(body.session, body.event, body.settles)
