"""The code agents of one sandbox: their handlers at work, each with a token of its own, and what these write."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from raworc.domain.handlers import LogLine, Message
from raworc.domain.redaction import Known, redacted_text
from raworc.ids import SessionId
from raworc.operator.log_book import LogBook
from raworc.operator.runners import Handler, Runners
from raworc.sandbox.driver import MAX_FOLDERS, Sandbox
from raworc.sandbox.results import Kept, Results
from raworc.services.deployments import Deployments
from raworc.services.handlers import BuiltAgentRow, Coded, Handlers
from raworc.services.holds import Hold
from raworc.services.tokens import Tokens, WorkClaims


@dataclass(frozen=True)
class Shelf:
    """What code agents are run with on this node. ``timeout_s``: the longest time for one message."""

    agents: Handlers
    deployments: Deployments
    book: LogBook
    results: Results
    node: str
    timeout_s: float

    def take(self, built: Mapping[str, BuiltAgentRow], first: str | None) -> dict[str, Kept]:
        """The code that is here, by agent, until it is let go; where there is too much, ``first`` is in it. Blocks."""
        here = {name: row for name, row in built.items() if row.node == self.node}
        names = sorted(here, key=lambda name: name != first)[:MAX_FOLDERS]
        return {name: kept for name in names if (kept := self.results.use(here[name].digest)) is not None}


@dataclass(frozen=True)
class Setting:
    """How a sandbox was opened: its variables, the token among them, secrets that no log may show, and its code.

    ``is_frozen`` says whether it is paused now.
    """

    env: Mapping[str, str]
    token: str
    secrets: Known
    code: Mapping[str, Kept]
    is_frozen: Callable[[], bool]

    def let_go(self) -> None:
        """Nobody uses its code any more."""
        for kept in self.code.values():
            kept.close()


class Crew:
    """Whose code is in a sandbox, at work. It ends with the sandbox."""

    def __init__(self, shelf: Shelf, tokens: Tokens, hold: Hold, sandbox: Sandbox, setting: Setting) -> None:
        self._shelf = shelf
        self._tokens = tokens
        self._hold = hold
        self._setting = setting
        self._runners = Runners(sandbox, self._hear, setting.is_frozen)
        self._agents: dict[str, tuple[BuiltAgentRow, Handler]] = {}

    def has(self, agent: BuiltAgentRow) -> bool:
        """Whether this very code of the agent's is in the sandbox."""
        kept = self._setting.code.get(agent.name)
        return kept is not None and kept.digest == agent.digest

    async def answer(self, agent: BuiltAgentRow, message: Message) -> str:
        """What its handler says. Raises as ``Runners.answer``."""
        _, handler = self._agents.get(agent.name, (None, None))
        if handler is None or handler.digest != agent.digest:
            handler = self._handler(agent, message.space)
        self._agents[agent.name] = agent, handler
        return await self._runners.answer(handler, message, self._shelf.timeout_s, keeps=agent.is_deployed)

    @property
    def is_at_work(self) -> bool:
        """Whether any handler runs."""
        return bool(self._runners.agents)

    async def keep(self, session_id: SessionId) -> None:
        """End the handlers of agents that are not deployed any more."""
        await self._runners.keep(await self._shelf.deployments.names(session_id))

    async def close(self) -> None:
        """End all; quickest when the sandbox is closed already."""
        await self._runners.close()
        self._setting.let_go()

    def _handler(self, agent: BuiltAgentRow, space: str) -> Handler:
        """What it is told of how to reach models is its own: its calls are booked under its name."""
        hold, setting = self._hold, self._setting
        claims = WorkClaims(
            "sandbox", hold.session_id, hold.epoch, space, f"{space}.{agent.name}", None, agent.agent_id
        )
        token = self._tokens.work(claims, ttl_s=TOKEN_TTL_S)
        env = {name: token for name, value in setting.env.items() if value == setting.token}
        return Handler(agent.name, agent.digest, agent.runtime, agent.handler, {**env, "RAWORC_AGENT": agent.name})

    def _hear(self, name: str, line: LogLine) -> None:
        agent, _ = self._agents[name]
        self._shelf.book.hear(agent.agent_id, replace(line, text=redacted_text(line.text, self._setting.secrets)))


TOKEN_TTL_S = 10 * 365 * 24 * 3600
"""Of what is given into a sandbox: it ends with the hold's epoch, long before."""


def by_name(coded: Coded) -> dict[str, BuiltAgentRow]:
    """Those that are built."""
    return {row.name: row for row in coded.built}
