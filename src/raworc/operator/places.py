"""The place where a held session works: its sandbox, opened when it is needed, and its files."""

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

import structlog

from raworc.domain.environment import Given, environment
from raworc.domain.output import MODEL_CHARACTERS, shown
from raworc.domain.redaction import Known
from raworc.domain.toolset import McpServer
from raworc.domain.turns import Segment, note
from raworc.domain.upstreams import ProviderName
from raworc.errors import Unavailable
from raworc.ids import SessionId
from raworc.operator.crew import TOKEN_TTL_S, Crew, Setting, Shelf, by_name
from raworc.operator.patience import patiently
from raworc.operator.stop import Stop
from raworc.operator.tools import Surroundings, command_output
from raworc.sandbox.driver import (
    Command,
    Driver,
    Limits,
    NoWorkspace,
    Sandbox,
    SandboxDied,
    SandboxError,
    SandboxSpec,
    SandboxStartFailed,
    SandboxUnavailable,
    Workspace,
    WorkspaceExists,
)
from raworc.services.handlers import BuiltAgentRow, Coded
from raworc.services.holds import Hold
from raworc.services.runs import Source
from raworc.services.steps import Brief
from raworc.services.tokens import Tokens, WorkClaims

if TYPE_CHECKING:
    from raworc.operator.mcp import Servers

GATEWAY_URL: Final = "http://127.0.0.1:8787"
SETUP_TIMEOUT_S: Final = 600.0
_ROOM_FOR_COPIES: Final = 2  # times the disk limit: the tree is measured about once a second, and may be above it
_RETRY_AFTER_S: Final = (0.2, 1.0)
_REOPENED: Final = (
    "The sandbox was opened again: the files are as they were, processes that ran in the background have ended"
)

log = structlog.get_logger()


@dataclass(frozen=True)
class Premises:
    """What places are made from."""

    driver: Driver
    tokens: Tokens
    given: Callable[[SessionId], Awaitable[Given]]
    shelf: Shelf


class Place:
    """One held session's sandbox. Closing it ends everything that runs inside."""

    def __init__(self, premises: Premises, hold: Hold) -> None:
        self._premises = premises
        self._hold = hold
        self._workspace = Workspace(hold.session_id, hold.number)
        self._sandbox: Sandbox | None = None
        self._death: asyncio.Task[None] | None = None
        self._servers: Servers | None = None
        self._crew: Crew | None = None
        self.is_frozen = False

    async def clear(self) -> None:
        """Return when nothing is left of a sandbox that another holder had."""
        await self._premises.driver.reap(self._hold.session_id)

    async def fill(self, source: Source, agent: Brief) -> bool:
        """Copy another session's files to where this one's will be; True once they are there, copied now or before.

        Raises:
            SandboxError: they cannot be copied.
        """
        await self.close()
        leave_out = () if source.code else ("code",)
        most = _limits(agent.limits).disk_mb * 1_048_576 * _ROOM_FOR_COPIES
        try:
            await self._premises.driver.copy_workspace(
                Workspace(SessionId(source.session_id), source.number),
                self._workspace,
                leave_out=leave_out,
                max_bytes=most,
            )
        except WorkspaceExists:  # an operator that died had come so far
            log.info("files are there already", session_id=str(self._hold.session_id))
        except NoWorkspace:
            if source.has_run:
                raise
        return True

    async def ready(self, agent: Brief, stop: Stop, code: BuiltAgentRow | None = None) -> list[Segment]:
        """Have a living sandbox; what people should know about how it came to be.

        ``code``: what must be in it. One without that, or with an older version, is closed first.

        Raises:
            SandboxError: none can be had.
            Stopped: while the setup ran.
        """
        if self._sandbox is not None and self._death is not None and not self._death.done():
            if code is None or self.crew.has(code):
                return []
            log.info("sandbox is opened again for other code", agent=code.name, digest=code.digest)
        await self.close()
        self._sandbox = await self._open(agent, code)
        self._death = asyncio.create_task(self._sandbox.wait_closed())
        if self.is_frozen:  # it was paused while this one came up
            await self._sandbox.freeze()
        return await self._set_up(agent, self._sandbox, stop)

    async def reopened(self, agent: Brief, stop: Stop, code: BuiltAgentRow | None = None) -> list[Segment]:
        """As ``ready``, for a session that had a sandbox before; a remark says if it has a new one."""
        before = self._sandbox
        remarks = await self.ready(agent, stop, code)
        return remarks if self._sandbox is before else [note("info", _REOPENED), *remarks]

    @property
    def sandbox_id(self) -> str | None:
        """Which sandbox there is, if any."""
        return None if self._sandbox is None else self._sandbox.sandbox_id

    @property
    def around(self) -> Surroundings:
        """What tools work with. Only after ``ready``."""
        if self._sandbox is None:
            raise SandboxDied("The sandbox is closed")
        return Surroundings(self._sandbox, self._premises.driver.files(self._workspace))

    async def equip(self, wanted: Sequence[McpServer]) -> list[Segment]:
        """Have these servers of tools run in the sandbox; remarks about those that do not. Only after ``ready``."""
        if self._servers is None:
            self._servers = (await _servers())(self.around.sandbox)
        return [note("warning", text) for text in await self._servers.equip(wanted)]

    @property
    def servers(self) -> "Servers | None":
        """What runs since ``equip``; it ends with the sandbox."""
        return self._servers

    @property
    def shelf(self) -> Shelf:
        """What code agents are run with here."""
        return self._premises.shelf

    @property
    def crew(self) -> Crew:
        """The code agents of the sandbox. Only after ``ready``."""
        if self._crew is None:
            raise SandboxDied("The sandbox is closed")
        return self._crew

    async def keep_deployed(self) -> None:
        """End handlers that nobody wants to be kept warm any more."""
        if self._crew is not None and self._crew.is_at_work:
            await self._crew.keep(self._hold.session_id)

    async def freeze(self) -> None:
        """Stop the processes of its sandbox, which keep their memory; also of one that is being opened.

        Raises:
            SandboxError: this host cannot.
        """
        self.is_frozen = True
        if self._sandbox is not None:
            await self._sandbox.freeze()

    async def thaw(self) -> None:
        """Have them go on. A sandbox that cannot is closed: it opens again when it is needed."""
        self.is_frozen = False
        if self._sandbox is None:
            return
        try:
            await self._sandbox.thaw()
        except SandboxError as error:
            log.warning("sandbox did not thaw", session_id=str(self._hold.session_id), reason=str(error))
            await self.close()

    async def close(self) -> None:
        """Close the sandbox, if there is one."""
        sandbox, self._sandbox = self._sandbox, None
        servers, self._servers = self._servers, None
        crew, self._crew = self._crew, None
        if sandbox is not None:
            await sandbox.close()
        for inside in (servers, crew):
            if inside is not None:
                await inside.close()
        if self._death is not None:
            self._death.cancel()
            await asyncio.gather(self._death, return_exceptions=True)
            self._death = None

    async def remove(self) -> None:
        """Close the sandbox and delete the workspace for good."""
        await self.close()
        await self._premises.driver.remove(self._workspace)

    async def _open(self, agent: Brief, code: BuiltAgentRow | None) -> Sandbox:
        token, shelf, session_id = self._token(agent), self._premises.shelf, self._hold.session_id
        try:
            given = await patiently(lambda: self._premises.given(session_id))
            env = variables(given, self._hold, agent, token)
        except Unavailable as error:
            raise SandboxUnavailable(error.message) from error
        coded = await patiently(lambda: shelf.agents.of_session(session_id)) if self._hold.is_shared else Coded()
        kept = await asyncio.to_thread(shelf.take, by_name(coded), code.name if code else None) if coded.built else {}
        limits = _limits(agent.limits)
        self._workspace = replace(self._workspace, disk_mb=limits.disk_mb)
        spec = SandboxSpec(
            workspace=self._workspace,
            epoch=self._hold.epoch,
            env=env,
            limits=limits,
            network=agent.network,
            folders={name: shelf.results.path(one.digest) for name, one in kept.items()},
        )
        setting = Setting(env, token, Known.of(given.secrets.values()), kept, lambda: self.is_frozen)
        try:
            sandbox = await self._opened(spec)
        except BaseException:
            setting.let_go()
            raise
        self._crew = Crew(shelf, self._premises.tokens, self._hold, sandbox, setting)
        return sandbox

    async def _opened(self, spec: SandboxSpec) -> Sandbox:
        for delay_s in _RETRY_AFTER_S:
            try:
                return await self._premises.driver.open(spec)
            except SandboxStartFailed as error:
                log.warning("sandbox did not start", session_id=str(self._hold.session_id), reason=str(error))
            await asyncio.sleep(delay_s)
        return await self._premises.driver.open(spec)

    async def _set_up(self, agent: Brief, sandbox: Sandbox, stop: Stop) -> list[Segment]:
        if not agent.setup or not agent.setup.strip():
            return []
        try:
            output = await stop.race(command_output(sandbox, Command(agent.setup, timeout_s=SETUP_TIMEOUT_S)))
        except SandboxDied:
            return [note("warning", "The sandbox stopped while the setup script ran")]
        if not output.is_error:
            return []
        return [note("warning", f"The setup script failed:\n{shown(output.text, MODEL_CHARACTERS)}")]

    def _token(self, agent: Brief) -> str:
        hold = self._hold
        claims = WorkClaims("sandbox", hold.session_id, hold.epoch, hold.space, agent.train_id, turn_id=None)
        return self._premises.tokens.work(claims, ttl_s=TOKEN_TTL_S)


async def _servers() -> "type[Servers]":
    """The protocol's library takes more than half of an operator's start to load: only where somebody uses it."""
    module = await asyncio.to_thread(importlib.import_module, "raworc.operator.mcp")
    return cast("type[Servers]", module.Servers)


def variables(given: Given, hold: Hold, agent: Brief, token: str) -> dict[str, str]:
    """What is set inside: secrets, and over them how to reach models and what this place is. See ``environment``."""
    gateway: dict[ProviderName, dict[str, str]] = {
        "anthropic": {"ANTHROPIC_BASE_URL": GATEWAY_URL, "ANTHROPIC_API_KEY": token},
        "openai": {"OPENAI_BASE_URL": f"{GATEWAY_URL}/v1", "OPENAI_API_KEY": token},
    }
    place = {
        "RAWORC_SPACE": hold.space,
        "RAWORC_SESSION_ID": str(hold.session_id),
        "RAWORC_AGENT": agent.name,
    }
    return environment(given, gateway, place)


def _limits(given: Mapping[str, Any]) -> Limits:
    known = Limits()
    return Limits(
        memory_mb=int(given.get("memory_mb", known.memory_mb)),
        cpus=float(given.get("cpus", known.cpus)),
        pids=int(given.get("pids", known.pids)),
        disk_mb=int(given.get("disk_mb", known.disk_mb)),
    )
