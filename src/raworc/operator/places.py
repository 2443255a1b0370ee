"""The place where a held session works: its sandbox, opened when it is needed, and its files."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from raworc.domain.output import MODEL_CHARACTERS, shown
from raworc.domain.toolset import McpServer
from raworc.domain.turns import Segment, note
from raworc.errors import Unavailable
from raworc.ids import SessionId
from raworc.operator.mcp import Servers
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
    SandboxSpec,
    SandboxStartFailed,
    SandboxUnavailable,
    Workspace,
    WorkspaceExists,
)
from raworc.services.holds import Hold
from raworc.services.runs import Source
from raworc.services.steps import Brief
from raworc.services.tokens import Tokens, WorkClaims

GATEWAY_URL: Final = "http://127.0.0.1:8787"
SETUP_TIMEOUT_S: Final = 600.0
_TOKEN_TTL_S: Final = 10 * 365 * 24 * 3600  # ends with the hold's epoch, long before
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
    secrets: Callable[[Brief], Awaitable[Mapping[str, str]]]


class Place:
    """One held session's sandbox. Closing it ends everything that runs inside."""

    def __init__(self, premises: Premises, hold: Hold) -> None:
        self._premises = premises
        self._hold = hold
        self._workspace = Workspace(hold.session_id, hold.number)
        self._sandbox: Sandbox | None = None
        self._death: asyncio.Task[None] | None = None
        self._servers: Servers | None = None

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

    async def ready(self, agent: Brief, stop: Stop) -> list[Segment]:
        """Have a living sandbox; what people should know about how it came to be.

        Raises:
            SandboxError: none can be had.
            Stopped: while the setup ran.
        """
        if self._sandbox is not None and self._death is not None and not self._death.done():
            return []
        await self.close()
        self._sandbox = await self._open(agent)
        self._death = asyncio.create_task(self._sandbox.wait_closed())
        return await self._set_up(agent, self._sandbox, stop)

    async def reopened(self, agent: Brief, stop: Stop) -> list[Segment]:
        """As ``ready``, for a session that had a sandbox before; a remark says if it has a new one."""
        before = self._sandbox
        remarks = await self.ready(agent, stop)
        return remarks if self._sandbox is before else [note("info", _REOPENED), *remarks]

    @property
    def around(self) -> Surroundings:
        """What tools work with. Only after ``ready``."""
        if self._sandbox is None:
            raise SandboxDied("The sandbox is closed")
        return Surroundings(self._sandbox, self._premises.driver.files(self._workspace))

    async def equip(self, wanted: Sequence[McpServer]) -> list[Segment]:
        """Have these servers of tools run in the sandbox; remarks about those that do not. Only after ``ready``."""
        if self._servers is None:
            self._servers = Servers(self.around.sandbox)
        return [note("warning", text) for text in await self._servers.equip(wanted)]

    @property
    def servers(self) -> Servers | None:
        """What runs since ``equip``; it ends with the sandbox."""
        return self._servers

    async def close(self) -> None:
        """Close the sandbox, if there is one."""
        sandbox, self._sandbox = self._sandbox, None
        servers, self._servers = self._servers, None
        if sandbox is not None:
            await sandbox.close()
        if servers is not None:
            await servers.close()
        if self._death is not None:
            self._death.cancel()
            await asyncio.gather(self._death, return_exceptions=True)
            self._death = None

    async def remove(self) -> None:
        """Close the sandbox and delete the workspace for good."""
        await self.close()
        await self._premises.driver.remove(self._workspace)

    async def _open(self, agent: Brief) -> Sandbox:
        try:
            secrets = await patiently(lambda: self._premises.secrets(agent))
        except Unavailable as error:
            raise SandboxUnavailable(error.message) from error
        limits = _limits(agent.limits)
        self._workspace = replace(self._workspace, disk_mb=limits.disk_mb)
        spec = SandboxSpec(
            workspace=self._workspace,
            epoch=self._hold.epoch,
            env=environment(secrets, self._hold, agent, self._token(agent)),
            limits=limits,
            network=agent.network,
        )
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
        return self._premises.tokens.work(claims, ttl_s=_TOKEN_TTL_S)


def environment(secrets: Mapping[str, str], hold: Hold, agent: Brief, token: str) -> dict[str, str]:
    """What is set inside: the agent's secrets, and over them how to reach models and what this place is."""
    return {
        **secrets,
        "ANTHROPIC_BASE_URL": GATEWAY_URL,
        "ANTHROPIC_API_KEY": token,
        "OPENAI_BASE_URL": f"{GATEWAY_URL}/v1",
        "OPENAI_API_KEY": token,
        "RAWORC_SPACE": hold.space,
        "RAWORC_SESSION_ID": str(hold.session_id),
        "RAWORC_AGENT": agent.name,
    }


def _limits(given: Mapping[str, Any]) -> Limits:
    known = Limits()
    return Limits(
        memory_mb=int(given.get("memory_mb", known.memory_mb)),
        cpus=float(given.get("cpus", known.cpus)),
        pids=int(given.get("pids", known.pids)),
        disk_mb=int(given.get("disk_mb", known.disk_mb)),
    )
