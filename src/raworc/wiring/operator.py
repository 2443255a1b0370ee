"""What an operator process is made of: holds, turns, its model calls, and the sandboxes it drives."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from raworc.domain.models import Models
from raworc.errors import BadRequest, Unavailable
from raworc.keys import MasterKeys, load_keys
from raworc.operator.builds import Builder
from raworc.operator.crew import Shelf
from raworc.operator.desk import Desk
from raworc.operator.log_book import LogBook
from raworc.operator.loop import Operator
from raworc.operator.model import Model
from raworc.operator.places import Premises
from raworc.operator.session import Parts
from raworc.sandbox import host
from raworc.sandbox.bubblewrap import BubblewrapDriver, Places
from raworc.sandbox.driver import SandboxUnavailable
from raworc.sandbox.results import Results
from raworc.sandbox.spawner import Spawner
from raworc.services.agent_logs import KeptLogs
from raworc.services.approvals import Approvals
from raworc.services.deployments import Deployments
from raworc.services.environments import Environments
from raworc.services.handlers import Handlers
from raworc.services.holds import Holds
from raworc.services.knowledge import Knowledge
from raworc.services.provided_upstreams import provided_upstreams
from raworc.services.requests import Requests
from raworc.services.runs import Runs
from raworc.services.secrets import Secrets
from raworc.services.steps import Steps
from raworc.services.tokens import Tokens
from raworc.services.workers import has_ended, working
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.notify import BUILDS, WORK, Listener
from raworc.wire.client import Client, Target
from raworc.wiring.builds import Around, builder_of
from raworc.wiring.database import database_url
from raworc.wiring.metrics import published


@dataclass(frozen=True)
class OperatorParts:
    """An operator that is ready to run, and what a person may want to know."""

    operator: Operator
    builder: Builder
    facts: dict[str, str]

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self.operator.run(stop))
            both.create_task(self.builder.run(stop))


def spawning(settings: Settings) -> Spawner:
    """Start the operator's spawner. Call it first: before the event loop, any thread and the worker's lock.

    Raises:
        Unavailable: this host cannot isolate; the message says what to install.
    """
    try:
        host.require()
    except SandboxUnavailable as error:
        raise Unavailable(str(error)) from error
    return Spawner.fork(settings.run_dir)


@asynccontextmanager
async def operator_parts(
    settings: Settings, spawner: Spawner, process: str = "operator"
) -> AsyncGenerator[OperatorParts]:
    """An operator around its spawner, which ends with it."""
    url, keys = database_url(settings), load_keys(settings)
    async with AsyncExitStack() as stack:
        stack.callback(spawner.close)
        db = Database(url, pool_size=settings.pool_size)
        stack.push_async_callback(db.close)
        client = Client(_model_target(settings))
        stack.push_async_callback(client.close)
        listener = await stack.enter_async_context(Listener(url, [WORK, BUILDS]))
        worker = await stack.enter_async_context(working(url, "operator", node=settings.node, run_dir=settings.run_dir))
        metrics = await stack.enter_async_context(published(process, worker, settings.run_dir, db))
        tokens = Tokens(keys.jwt)
        desk = Desk(
            steps=Steps(db, metrics),
            knowledge=Knowledge(db),
            approvals=Approvals(db),
            requests=Requests(db),
            model=Model(client),
            tokens=tokens,
            models=Models(settings.default_model, [use.offer for use in provided_upstreams(settings)]),
            max_model_calls=settings.max_model_calls,
            soft_limit_tokens=settings.context_soft_limit_tokens,
        )
        environments = Environments(db, Secrets(MasterKeys.of(settings)))
        driver = BubblewrapDriver(Places.of(settings), spawner, keys.door)
        parts = Parts(
            holds=Holds(db, worker.id, settings.node, lambda other: has_ended(settings.run_dir, other)),
            runs=Runs(db),
            desk=desk,
            premises=Premises(driver, tokens, environments.of, _shelf(stack, settings, db)),
        )
        operator = Operator(parts, worker, listener, drain_timeout_s=settings.drain_timeout_s)
        metrics.gauge("raworc_sessions_held", "Sessions that are worked on", lambda: len(operator.held))
        builder = builder_of(settings, worker, Around(spawner, keys.door, listener, db))
        yield OperatorParts(operator, builder, {"sandbox": _enforced()})


def _shelf(stack: AsyncExitStack, settings: Settings, db: Database) -> Shelf:
    book = LogBook(KeptLogs(db))
    stack.push_async_callback(book.close)
    return Shelf(
        agents=Handlers(db),
        deployments=Deployments(db),
        book=book,
        results=Results(settings.builds_dir),
        node=settings.node,
        timeout_s=settings.handler_timeout_s,
    )


def _model_target(settings: Settings) -> Target:
    try:
        return Target.parse(settings.model_url or f"unix:{settings.model_socket}")
    except ValueError as error:
        raise BadRequest(f"'RAWORC_MODEL_URL': {error}") from error


def _enforced() -> str:
    """One line for people; ``raworc doctor`` shows all of it."""
    version = ".".join(map(str, host.bwrap_version()))
    users = "a user of its own for each session" if os.geteuid() == 0 else "one user for all sessions"
    limits = "control groups" if host.group_parents() else "resource limits without control groups"
    return f"bubblewrap {version}, {users}, {limits}, no network but the gateway"
