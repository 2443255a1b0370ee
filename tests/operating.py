"""Operators in the test's own event loop, on a real Postgres, real sandboxes and the real gateway."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from sqlalchemy import select

from gate import DOOR_KEY, Gate, gate
from raworc.domain.models import Models
from raworc.ids import SessionId, WorkerId, new_id
from raworc.operator.crew import Shelf
from raworc.operator.desk import Desk
from raworc.operator.log_book import LogBook
from raworc.operator.loop import Operator
from raworc.operator.model import Model
from raworc.operator.places import Premises
from raworc.operator.session import Parts
from raworc.sandbox.bubblewrap import BubblewrapDriver, Places
from raworc.sandbox.driver import Driver, Sandbox, SandboxSpec, Workspace
from raworc.sandbox.results import Results
from raworc.sandbox.spawner import Spawner
from raworc.services.accounts import Accounts, Caller
from raworc.services.agent_logs import KeptLogs
from raworc.services.agent_states import AgentStates
from raworc.services.agents import Agents, NewAgent
from raworc.services.approvals import Approvals
from raworc.services.context import Context
from raworc.services.deployments import Deployments
from raworc.services.environments import Environments
from raworc.services.handlers import Handlers
from raworc.services.holds import Hold, Holds
from raworc.services.knowledge import Knowledge
from raworc.services.messages import Message, Messages, NewMessage
from raworc.services.passwords import Passwords
from raworc.services.requests import Requests
from raworc.services.runs import Runs
from raworc.services.secrets import Secrets
from raworc.services.sessions import NewSession, Sessions
from raworc.services.steps import Steps
from raworc.services.turns import Turns, TurnView
from raworc.services.workers import Worker
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.notify import EVENTS, WORK, Listener
from raworc.store.schema import accounts, agents, runs, sessions, steps, turns
from raworc.wire.client import Client, Target
from waiting import until

NODE = "here"
WAIT_S = 60.0


@dataclass
class World:
    """One installation. ``dead`` are workers whose lock counts as free."""

    settings: Settings
    db: Database
    driver: Driver
    gate: Gate
    client: Client
    listener: Listener
    admin: Caller
    agents: Agents
    sessions: AgentStates
    turns: Turns
    context: Context
    approvals: Approvals
    shared: Sessions
    messages: Messages
    shelf: Shelf
    dead: set[uuid.UUID] = field(default_factory=set)

    def holds(self, worker_id: WorkerId, node: str = NODE) -> Holds:
        return Holds(self.db, worker_id, node, lambda other: other in self.dead)

    def parts(self, holds: Holds, *, steps: Steps | None = None, driver: Driver | None = None) -> Parts:
        tokens, environments = self.gate.tokens, Environments(self.db, Secrets(b"m" * 32))
        desk = Desk(
            steps=steps or Steps(self.db),
            knowledge=Knowledge(self.db),
            approvals=self.approvals,
            requests=Requests(self.db),
            model=Model(self.client),
            tokens=tokens,
            models=Models(),
            max_model_calls=self.settings.max_model_calls,
            soft_limit_tokens=self.settings.context_soft_limit_tokens,
        )
        return Parts(holds, Runs(self.db), desk, Premises(driver or self.driver, tokens, environments.of, self.shelf))

    @asynccontextmanager
    async def operator(
        self, *, parts: Callable[[Parts], Parts] | None = None, drain_timeout_s: float = 10
    ) -> AsyncIterator[Operator]:
        """One that runs until the block ends, then drains."""
        worker = Worker(WorkerId(new_id()), "operator", NODE)
        made = self.parts(self.holds(worker.id))
        stop = asyncio.Event()
        async with Listener(self.db.url, [WORK]) as listener:
            operator = Operator(parts(made) if parts else made, worker, listener, drain_timeout_s=drain_timeout_s)
            running = asyncio.create_task(operator.run(stop))
            try:
                yield operator
            finally:
                stop.set()
                await running

    async def claimed(self, session_id: SessionId, worker_id: WorkerId | None = None) -> tuple[Hold, Holds]:
        """The session, held by a worker of its own; those in ``dead`` do not count."""
        holds = self.holds(worker_id or WorkerId(new_id()))
        await holds.find_dead()
        held = await holds.claim(held=(), limit=1, only=[session_id])
        assert held, "the session is not free, or has no work"
        return held[0], holds

    async def create(self, name: str = "demo", **fields: object) -> SessionId:
        """A new agent; its session."""
        await self.agents.create(self.admin, NewAgent(name=name, **fields))  # pyright: ignore[reportArgumentType]
        return await self.session_of(name)

    async def begin(self, **fields: object) -> SessionId:
        """A new session of a space."""
        return SessionId((await self.shared.create(self.admin, NewSession(**fields))).id)  # pyright: ignore[reportArgumentType]

    async def say(self, session_id: SessionId, content: str) -> Message:
        """A message to it."""
        return await self.messages.post(self.admin, str(session_id), NewMessage(content))

    async def heard(self, session_id: SessionId) -> list[Message]:
        """All that was said in it."""
        return await self.messages.page(self.admin, str(session_id), limit=1000, offset=None)

    async def reply(self, session_id: SessionId, content: str) -> Message:
        """The answer to a message that is the only one in the queue."""
        await self.say(session_id, content)
        return await self.next_reply(session_id)

    async def next_reply(self, session_id: SessionId) -> Message:
        """The newest message, once it is an answer."""

        async def answered() -> bool:
            return (await self.heard(session_id))[-1].role != "USER"

        await until(answered)
        return (await self.heard(session_id))[-1]

    async def session_of(self, name: str) -> SessionId:
        async with self.db.reading() as conn:
            return SessionId(await conn.scalar(select(agents.c.session_id).where(agents.c.name == name)))

    async def post(self, prompt: str, name: str = "demo", **options: object) -> uuid.UUID:
        given = {"content": [{"type": "text", "content": prompt}]}
        return (await self.turns.start(self.admin, name, given, **options)).id  # pyright: ignore[reportArgumentType]

    async def settled(self, turn_id: uuid.UUID, name: str = "demo") -> TurnView:
        return await self.turns.wait(self.admin, name, turn_id, WAIT_S)

    async def ask(self, prompt: str, name: str = "demo") -> TurnView:
        return await self.settled(await self.post(prompt, name), name)

    async def turn(self, turn_id: uuid.UUID, name: str = "demo") -> TurnView:
        return await self.turns.get(self.admin, name, turn_id)

    async def all_turns(self, name: str = "demo") -> list[TurnView]:
        return (await self.turns.page(self.admin, name, 100, 0)).turns

    async def row(self, session_id: SessionId):
        async with self.db.reading() as conn:
            return (await conn.execute(select(sessions).where(sessions.c.id == session_id))).one_or_none()

    async def turn_row(self, turn_id: uuid.UUID):
        async with self.db.reading() as conn:
            return (await conn.execute(select(turns).where(turns.c.id == turn_id))).one()

    async def steps(self, turn_id: uuid.UUID):
        async with self.db.reading() as conn:
            return (await conn.execute(select(steps).where(steps.c.turn_id == turn_id).order_by(steps.c.number))).all()

    async def runs(self, session_id: SessionId):
        async with self.db.reading() as conn:
            return (await conn.execute(select(runs).where(runs.c.session_id == session_id))).all()

    async def change(self, session_id: SessionId, **columns: object) -> None:
        """Set columns of a session's row: what time or a server would have done."""
        async with self.db.transaction() as conn:
            await conn.execute(sessions.update().where(sessions.c.id == session_id).values(**columns))

    async def wish_cancel(self, turn_id: uuid.UUID, reason: str) -> None:
        async with self.db.transaction() as conn:
            await conn.execute(turns.update().where(turns.c.id == turn_id).values(cancel_reason=reason))

    async def open_sandbox(self, workspace: Workspace) -> Sandbox:
        return await self.driver.open(SandboxSpec(workspace, epoch=1))

    async def until_state(self, session_id: SessionId, state: str) -> None:
        async def holds() -> bool:
            row = await self.row(session_id)
            return row is not None and row.state == state

        await until(holds)

    async def until_frozen(self, session_id: SessionId) -> None:
        async def kept() -> bool:
            row = await self.row(session_id)
            return row is not None and row.paused_epoch == row.hold_epoch and row.desired is None

        await until(kept)

    async def until_segment(self, turn_id: uuid.UUID, kind: str, name: str = "demo") -> None:
        async def there() -> bool:
            return kind in kinds(await self.turn(turn_id, name))

        await until(there)

    def file(self, session_id: SessionId, path: str) -> bytes | None:
        found = self.settings.sessions_dir / str(session_id) / path
        return found.read_bytes() if found.exists() else None

    async def until_file(self, session_id: SessionId, path: str, content: bytes | None = None) -> None:
        def there() -> bool:
            found = self.file(session_id, path)
            return found is not None and (content is None or found == content)

        await until(there)


def kinds(turn: TurnView) -> list[str]:
    """The types of a turn's segments, in order."""
    return [segment["type"] for segment in turn.segments]


def only(turn: TurnView, kind: str) -> dict[str, object]:
    """The one segment of a type."""
    found = [segment for segment in turn.segments if segment["type"] == kind]
    assert len(found) == 1, f"{len(found)} of '{kind}' in {turn.segments}"
    return found[0]


def answer(turn: TurnView) -> str:
    """The final text of a completed turn."""
    assert turn.status == "completed", turn
    return turn.output_content[0]["content"]


def shelf_of(settings: Settings, db: Database, stack: AsyncExitStack) -> Shelf:
    book = LogBook(KeptLogs(db))
    stack.push_async_callback(book.close)
    return Shelf(Handlers(db), Deployments(db), book, Results(settings.builds_dir), NODE, settings.handler_timeout_s)


@asynccontextmanager
async def world(settings: Settings, db: Database) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        spawner = Spawner.fork(settings.run_dir)
        stack.callback(spawner.close)
        gateway = await stack.enter_async_context(gate(settings.home))
        gateway.gateway._callers._turns = Requests(db)  # the real table instead of the gate's own
        client = Client(Target.parse(f"unix:{settings.home / 'run' / 'model.sock'}"))
        stack.push_async_callback(client.close)
        listener = await stack.enter_async_context(Listener(db.url, [EVENTS]))
        settings = replace(settings, anthropic_api_key=None)
        async with db.reading() as conn:
            account_id = await conn.scalar(select(accounts.c.id).where(accounts.c.name == "admin"))
        responses = Turns(db, listener, settings)
        token, _ = gateway.tokens.login(account_id, 1, "agents", ttl_s=3600)
        yield World(
            settings=settings,
            db=db,
            driver=BubblewrapDriver(Places.of(settings), spawner, DOOR_KEY),
            gate=gateway,
            client=client,
            listener=listener,
            admin=await Accounts(db, gateway.tokens, Passwords()).authenticate(token),
            agents=Agents(db, Secrets(b"m" * 32), settings),
            sessions=AgentStates(db),
            turns=responses,
            context=Context(db, responses, settings),
            approvals=Approvals(db),
            shared=Sessions(db),
            messages=Messages(db),
            shelf=shelf_of(settings, db, stack),
        )
