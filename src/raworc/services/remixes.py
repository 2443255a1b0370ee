"""Remixes: new agents that start as another one stands, which is left as it is.

Definition and secrets are copied here. The files are copied by the operator that first opens the new session,
which names their source until then (``sessions.copy_of``): a parent that is deleted meanwhile keeps its files
for as long. History and context are not copied.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.agents import DEFAULT_SPACE
from raworc.domain.names import check_agent_name
from raworc.domain.remixing import Offer, Parts, refused, taken
from raworc.domain.text import storable
from raworc.errors import Forbidden
from raworc.ids import new_id
from raworc.services import agents, audit
from raworc.services.accounts import Caller
from raworc.services.agents import AgentRow, AgentView
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.births import Birth, born, may_create
from raworc.services.queue import QueueLimits
from raworc.services.secrets import Secrets
from raworc.settings import Settings
from raworc.store import sessions
from raworc.store.database import Database, Duplicate
from raworc.store.sessions import NewSession, Source

Json = dict[str, Any]

_ALWAYS: Final = ("description", "metadata", "tags", "model", "max_tokens", "network", "limits")
_WITH_CODE: Final = ("instructions", "setup", "tools", "guardrails", "knowledge_bases")


@dataclass(frozen=True)
class Remix:
    """A remix to be made. ``metadata`` None: the parent's."""

    name: str
    metadata: Json | None = None
    code: bool = True
    secrets: bool = True
    prompt: str | None = None


class Remixes:
    """Makes agents from agents."""

    def __init__(self, db: Database, secrets: Secrets, settings: Settings) -> None:
        self._db = db
        self._secrets = secrets
        self._limits = QueueLimits.of(settings)

    async def make(self, caller: Caller, parent_name: str, wish: Remix, keep: Keep[AgentView] = unkept) -> AgentView:
        """The new agent, owned by the caller, in the parent's space where he may create agents, else in the common one.

        Raises:
            BadRequest: a field outside its rules.
            NotFound: no such parent.
            Forbidden: the parent is another's and not published, or not with every part that is wished for.
            Conflict: the name is taken, in any case of its letters.
            RateLimited: there is a prompt, and the space's queue is full.
            StorageFull: the server's disk is.
        """
        check_agent_name(wish.name)

        async def work(conn: AsyncConnection) -> AgentView:
            parent = await agents.find_shown_locked(conn, caller, parent_name)
            parts = _parts(caller, parent, Parts(wish.code, wish.secrets))
            source = await sessions.source_of(conn, parent.session_id)
            birth = Birth(_columns(parent, wish), _home(caller, parent, source, wish), wish.prompt)
            agent_id = await born(conn, caller, birth, self._limits)
            told = {"remix of": parent.name, **birth.told}
            await audit.done(conn, caller, Deed("create", "agents", wish.name, birth.home.space, told))
            if parts.secrets:
                values = await self._secrets.values(conn, parent.id, parent.space)
                await self._secrets.put(conn, agent_id, birth.home.space, values)
                await _tell(conn, caller, parent, wish.name, sorted(values))
            return await agents.shown(conn, caller, wish.name, keep)

        try:
            return await self._db.run(work)
        except Duplicate:
            raise agents.taken(wish.name) from None


def _parts(caller: Caller, parent: AgentRow, wished: Parts) -> Parts:
    if agents.may_touch(caller, "update", parent):
        return wished
    offer = Offer(parent.publish_permissions, parent.offers_secrets)
    part = refused(wished, offer)
    if part is not None:
        hint = "" if part == "content" else f": remix it with '{part}': false"
        raise Forbidden(f"Agent '{parent.name}' is published without its {part}{hint}")
    return taken(wished, offer)


def _columns(parent: AgentRow, wish: Remix) -> Json:
    inherited = (*_ALWAYS, *_WITH_CODE) if wish.code else _ALWAYS
    columns: Json = {name: getattr(parent, name) for name in inherited}
    if wish.metadata is not None:
        columns["metadata"] = storable(wish.metadata)
    return columns | {"name": wish.name, "parent_agent_name": parent.name}


def _home(caller: Caller, parent: AgentRow, source: Source, wish: Remix) -> NewSession:
    return NewSession(
        session_id=new_id(),
        space=parent.space if may_create(caller, parent.space) else DEFAULT_SPACE,
        kind="home",
        idle_timeout_s=parent.idle_timeout_s,
        busy_timeout_s=parent.busy_timeout_s,
        source=Source(source.session_id, source.code and wish.code, source.node),
    )


async def _tell(conn: AsyncConnection, caller: Caller, parent: AgentRow, remix: str, keys: list[str]) -> None:
    """Another's secrets in an agent of one's own are as good as read."""
    if keys and parent.owner_id != caller.account_id:
        deed = Deed("read-values", "secrets", parent.name, parent.space, {"remix": remix, "keys": keys})
        await audit.done(conn, caller, deed)
