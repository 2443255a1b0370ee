"""What the API is built from: handed in once by ``wiring.py``, reached through the application's state."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

from starlette.requests import Request

from raworc.api.routes import Contract
from raworc.services.accounts import Accounts
from raworc.services.agent_logs import AgentLogs
from raworc.services.agent_secrets import AgentSecrets
from raworc.services.agent_states import AgentStates
from raworc.services.agents import Agents
from raworc.services.answers import Answers
from raworc.services.approvals import Approvals
from raworc.services.audit_log import AuditLog
from raworc.services.bindings import Bindings
from raworc.services.blocklist import Blocklist
from raworc.services.builds import Builds
from raworc.services.client_keys import ClientKeys
from raworc.services.code_agents import CodeAgents
from raworc.services.context import Context
from raworc.services.conversations import Conversations
from raworc.services.definitions import Definitions
from raworc.services.deployments import Deployments
from raworc.services.events import Events
from raworc.services.feed import Feed
from raworc.services.files import AgentFiles
from raworc.services.identities import Identities
from raworc.services.ledger import Ledger
from raworc.services.messages import Messages
from raworc.services.minting import Minting
from raworc.services.operators import Operators
from raworc.services.published import Published
from raworc.services.remixes import Remixes
from raworc.services.requests import Requests
from raworc.services.roles import Roles
from raworc.services.session_remixes import SessionRemixes
from raworc.services.session_states import SessionStates
from raworc.services.sessions import Sessions
from raworc.services.space_secrets import SpaceSecrets
from raworc.services.spaces import Spaces
from raworc.services.storage import Storage
from raworc.services.telemetry import Telemetry
from raworc.services.turns import Turns
from raworc.services.upstreams import Upstreams
from raworc.services.usage import Usage


@dataclass(frozen=True)
class TrainParts:
    """The services that tell of recorded model calls."""

    requests: Requests
    ledger: Ledger
    conversations: Conversations
    usage: Usage
    feed: Feed


@dataclass(frozen=True)
class TenantParts:
    """The services behind the contracts ``spaces`` and ``organizations``."""

    spaces: Spaces
    identities: Identities
    secrets: SpaceSecrets
    accounts: Operators
    roles: Roles
    bindings: Bindings
    agents: Definitions
    deployments: Deployments
    logs: AgentLogs
    code_agents: CodeAgents
    builds: Builds
    sessions: Sessions
    session_states: SessionStates
    session_remixes: SessionRemixes
    messages: Messages
    audit: AuditLog


@dataclass(frozen=True)
class ApiParts:
    """The services behind the edges, and the edges' own limits.

    ``contract`` answers where a request names none. ``ready`` returns when this process can serve, and raises
    :class:`raworc.errors.Unavailable` when it cannot.
    """

    accounts: Accounts
    operators: Operators
    minting: Minting
    blocklist: Blocklist
    keys: ClientKeys
    upstreams: Upstreams
    agents: Agents
    published: Published
    remixes: Remixes
    secrets: AgentSecrets
    agent_states: AgentStates
    turns: Turns
    context: Context
    approvals: Approvals
    events: Events
    files: AgentFiles
    train: TrainParts
    answers: Answers
    telemetry: Telemetry
    tenants: TenantParts
    ready: Callable[[], Awaitable[None]]
    contract: Contract = "agents"
    storage: Storage = field(default_factory=Storage)
    body_limit_bytes: int = 1_048_576
    blocking_timeout_s: float = 900.0


def parts_of(request: Request) -> ApiParts:
    """The parts of the application that serves this request."""
    return cast("ApiParts", request.app.state.parts)
