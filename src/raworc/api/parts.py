"""What the API is built from: handed in once by ``wiring.py``, reached through the application's state."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

from starlette.requests import Request

from raworc.services.accounts import Accounts
from raworc.services.agents import Agents
from raworc.services.answers import Answers
from raworc.services.blocklist import Blocklist
from raworc.services.context import Context
from raworc.services.events import Events
from raworc.services.files import AgentFiles
from raworc.services.minting import Minting
from raworc.services.operators import Operators
from raworc.services.published import Published
from raworc.services.remixes import Remixes
from raworc.services.requests import Requests
from raworc.services.sessions import Sessions
from raworc.services.storage import Storage
from raworc.services.telemetry import Telemetry
from raworc.services.turns import Turns


@dataclass(frozen=True)
class ApiParts:
    """The services behind the edges, and the edges' own limits.

    ``ready`` returns when this process can serve, and raises :class:`raworc.errors.Unavailable` when it cannot.
    """

    accounts: Accounts
    operators: Operators
    minting: Minting
    blocklist: Blocklist
    agents: Agents
    published: Published
    remixes: Remixes
    sessions: Sessions
    turns: Turns
    context: Context
    events: Events
    files: AgentFiles
    requests: Requests
    answers: Answers
    telemetry: Telemetry
    ready: Callable[[], Awaitable[None]]
    storage: Storage = field(default_factory=Storage)
    body_limit_bytes: int = 1_048_576
    blocking_timeout_s: float = 900.0


def parts_of(request: Request) -> ApiParts:
    """The parts of the application that serves this request."""
    return cast("ApiParts", request.app.state.parts)
