"""The tools of one turn: which there are, and where they run: built-in ones here, those of servers in the sandbox."""

from dataclasses import replace
from typing import Final

import structlog

from raworc.domain.knowledge import knowledge_bases
from raworc.domain.toolset import toolset
from raworc.domain.turns import Block, Segment, ToolUse
from raworc.operator.library import Library
from raworc.operator.places import Place
from raworc.operator.stop import Stop
from raworc.operator.tools import ToolOutput, definition, refused, run
from raworc.sandbox.driver import SandboxDied, SandboxError
from raworc.services.knowledge import Knowledge
from raworc.services.steps import Work

_SANDBOX_DIED: Final = "outcome unknown, the sandbox stopped while this ran; it opens again on the same workspace"

log = structlog.get_logger()


class Bench:
    """An agent's tools in the place where it works. ``ignored``: what people should know of its entries."""

    def __init__(self, place: Place, work: Work, knowledge: Knowledge, stop: Stop) -> None:
        agent = work.agent
        bases, unread = knowledge_bases(agent.knowledge_bases)
        self._place = place
        self._agent = agent
        self._host = work.place_of
        self._stop = stop
        self._library = None if agent.agent_id is None else Library(knowledge, agent.agent_id, bases)
        self._toolset = toolset(agent.tools, knows=bool(bases))
        self._equipped: str | None = None
        self.ignored = (*self._toolset.remarks, *unread)

    async def open(self) -> list[Segment]:
        """Have a living sandbox, servers of tools included; remarks about both.

        Raises:
            SandboxError: none can be had.
            Stopped: meanwhile.
        """
        remarks = await self._place.reopened(self._host, self._stop)
        if self._toolset.servers and self._equipped != (life := self._place.around.sandbox.sandbox_id):
            self._equipped = life  # once a turn and sandbox: who does not start is not waited for again
            remarks += await self._stop.race(self._place.equip(self._toolset.servers))
        return remarks

    async def run(self, use: ToolUse) -> ToolOutput:
        """Run one call; only after ``open``. A sandbox that dies under it is a result, too.

        Raises:
            Stopped: it was cut short.
        """
        try:
            return await self._stop.race(self._run(use))
        except SandboxDied as error:
            log.warning("sandbox died under a tool", agent=self._agent.name, reason=str(error))
            await self._place.close()  # the news of its death may come later than the next tool
            return refused(_SANDBOX_DIED)
        except SandboxError as error:
            log.warning("sandbox failed a tool", agent=self._agent.name, reason=str(error))
            return refused(f"not run: {error}")

    @property
    def definitions(self) -> list[Block]:
        """The tools that there are now, as the Messages API wants them described."""
        return [*(definition(name) for name in self._toolset.builtins), *self._theirs()]

    async def _run(self, use: ToolUse) -> ToolOutput:
        theirs = {tool["name"]: tool for tool in self._theirs()}
        if self._place.servers is not None and use.name in theirs:
            return await self._place.servers.call(use)
        around = replace(self._place.around, library=self._library)
        return await run(use, around, self._toolset.builtins, also=theirs)

    def _theirs(self) -> list[Block]:
        """The tools of servers, as far as these run."""
        return self._place.servers.definitions if self._place.servers is not None and self._toolset.servers else []
