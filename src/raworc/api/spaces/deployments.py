"""Code agents at work: which are kept warm, and what their handlers said."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Query
from pydantic import BeforeValidator, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from raworc.api.agents.events import LastEventId
from raworc.api.auth import MayGetDefinition, MayListDefinitions, MayUpdateDefinition
from raworc.api.events import EventStream, last_event_id
from raworc.api.once import Once
from raworc.api.parts import parts_of
from raworc.api.queries import AccountLimit, Offset, Switch, whole
from raworc.api.render import Json, moment
from raworc.api.routes import Route
from raworc.api.spaces.schemas import AgentLog, RunningAgent
from raworc.errors import Conflict
from raworc.services.agent_logs import AgentLogRow
from raworc.services.deployments import DeploymentRow
from raworc.services.events import Event

_LINES: Final = 100
_MOST_LINES: Final = 1000


def _line_count(value: object) -> int:
    return whole(value, least=1, most=_MOST_LINES)


LineLimit = Annotated[
    int,
    BeforeValidator(_line_count),
    WithJsonSchema({"type": "integer", "minimum": 1}),
    Query(description="How many lines; above 1000 counts as 1000"),
]


@dataclass(frozen=True)
class WantedLines:
    """Which lines of a log, and how."""

    limit: LineLimit = _LINES
    follow: Switch = False
    resume_after: LastEventId = None


async def deploy_agent(
    request: Request, name: str, agent_name: str, caller: MayUpdateDefinition, once: Once
) -> Response:
    """Keep an agent's handler warm: each session of the space starts it with its first message.

    It runs what the newest completed build made of it. Deploying what is deployed changes nothing.
    """
    deployments = parts_of(request).tenants.deployments
    return await once.answer(caller, lambda keep: deployments.begin(caller, name, agent_name, keep), _shown)


async def stop_agent(request: Request, name: str, agent_name: str, caller: MayUpdateDefinition, once: Once) -> Response:
    """Keep it warm no longer: handlers end once they have answered, and are started for single messages from then on.

    Stopping what is not deployed changes nothing. Who is to answer no more gets the status `inactive`.
    """
    deployments = parts_of(request).tenants.deployments
    return await once.answer(caller, lambda keep: deployments.end(caller, name, agent_name, keep), _shown)


async def list_running_agents(
    request: Request, name: str, caller: MayListDefinitions, *, limit: AccountLimit = 1000, offset: Offset = 0
) -> Response:
    """The deployed agents of a space, by name."""
    rows = await parts_of(request).tenants.deployments.page(caller, name, limit=limit, offset=offset)
    return Json([_shown(row) for row in rows])


async def get_agent_logs(
    request: Request,
    name: str,
    agent_name: str,
    caller: MayGetDefinition,
    wanted: Annotated[WantedLines, Depends()],
) -> Response:
    """The last lines that an agent's handlers wrote, each with its time and level, oldest first.

    With `follow`, server-sent events without end: `log`, each `{"line"}`, the last lines first; the id of one resumes
    the stream behind it (`Last-Event-ID`). A mebibyte of each agent's newest lines is kept.
    """
    logs = parts_of(request).tenants.logs
    if not wanted.follow:
        rows = await logs.newest(caller, name, agent_name, limit=wanted.limit)
        return Json({"logs": [_line(row) for row in rows]})
    after = last_event_id(wanted.resume_after)
    lines = logs.follow(caller, name, agent_name, limit=wanted.limit, after=after)
    return await EventStream.open(_events(lines))


async def _events(lines: AsyncIterator[AgentLogRow | None]) -> AsyncIterator[Event]:
    async for row in lines:
        yield Event(None, "ping", {}) if row is None else Event(row.number, "log", {"line": _line(row)})


def _line(row: AgentLogRow) -> str:
    return f"{moment(row.at)} [{row.level}] {row.line}"


def _shown(row: DeploymentRow) -> dict[str, Any]:
    status = "running" if row.deployed_at else "stopped"
    return {"name": row.name, "status": status, "started_at": moment(row.deployed_at)}


_ONE: Final = "/spaces/{name}/agents/{agent_name}"

ROUTES: Final = (
    Route("GET", "/spaces/{name}/agents/running", list_running_agents, list[RunningAgent]),
    Route("POST", f"{_ONE}/deploy", deploy_agent, RunningAgent, fails=(Conflict,)),
    Route("POST", f"{_ONE}/stop", stop_agent, RunningAgent),
    Route("GET", f"{_ONE}/logs", get_agent_logs, AgentLog, media_type="text/event-stream"),
)
"""To be tried before the routes of agents: no agent is called 'running'."""
