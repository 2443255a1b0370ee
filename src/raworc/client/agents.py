"""Agents: create, look at, change, put to sleep, wake, delete."""

from typing import Literal, Unpack

from raworc.client.shapes import (
    Agent,
    AgentChanges,
    AgentFields,
    AgentFilter,
    AgentPage,
    AgentState,
    AgentToken,
    Cancelled,
    PublishFields,
    RemixFields,
    Runtime,
    SecretName,
    StateAnswer,
)
from raworc.client.transport import Query, Transport, segment, without_none


class Agents:
    """The agents of a server: ``client.agents``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, **fields: Unpack[AgentFields]) -> Agent:
        """A new agent; its sandbox comes up in the background. Raises Conflict when the name is taken."""
        return self._transport.call("POST", "/agents", Agent, {"name": name, **without_none(fields)})

    def get(self, name: str) -> Agent:
        """One agent."""
        return self._transport.get(_path(name), Agent)

    def page(self, **conditions: Unpack[AgentFilter]) -> AgentPage:
        """One page of the agents that this account may see, newest first."""
        query: Query = {}
        for key, value in without_none(conditions).items():
            query[key] = ",".join(value) if key == "tags" else value
        return self._transport.get("/agents", AgentPage, query)

    def update(self, name: str, **changes: Unpack[AgentChanges]) -> Agent:
        """Change what is given."""
        return self._transport.call("PUT", _path(name), Agent, without_none(changes))

    def delete(self, name: str) -> None:
        """Stop what runs and remove the agent with its files. The name is free at once."""
        self._transport.send("DELETE", _path(name))

    def sleep(self, name: str, *, delay_s: int | None = None, note: str | None = None) -> Agent:
        """Schedule sleep in ``delay_s`` seconds (at least 5). Its files stay, its processes end."""
        return self._transport.call(
            "POST", _path(name, "sleep"), Agent, without_none({"delay_seconds": delay_s, "note": note})
        )

    def wake(self, name: str, *, prompt: str | None = None) -> Agent:
        """A fresh sandbox around the same files, and work for it when there is a prompt."""
        return self._transport.call("POST", _path(name, "wake"), Agent, without_none({"prompt": prompt}))

    def cancel(self, name: str) -> Cancelled:
        """Stop the response in work, else drop the newest one waiting."""
        return self._transport.call("POST", _path(name, "cancel"), Cancelled)

    def remix(self, parent: str, name: str, **fields: Unpack[RemixFields]) -> Agent:
        """A new agent that starts as ``parent`` stands: one's own, or a published one."""
        return self._transport.call("POST", _path(parent, "remix"), Agent, {"name": name, **without_none(fields)})

    def secrets(self, name: str) -> tuple[SecretName, ...]:
        """The names of the agent's secrets."""
        return self._transport.get(_path(name, "secrets"), tuple[SecretName, ...])

    def put_secret(self, name: str, key: str, value: str) -> SecretName:
        """Add a secret or give it another value. A sandbox that is open has it from the agent's next wake."""
        return self._transport.call("PUT", f"{_path(name, 'secrets')}/{segment(key)}", SecretName, {"value": value})

    def delete_secret(self, name: str, key: str) -> None:
        """Take a secret away. A sandbox that is open has it until the agent's next wake."""
        self._transport.send("DELETE", f"{_path(name, 'secrets')}/{segment(key)}")

    def publish(self, name: str, **permissions: Unpack[PublishFields]) -> Agent:
        """Show the agent to everybody and let every account remix it; done again, it changes the permissions."""
        return self._transport.call("POST", _path(name, "publish"), Agent, without_none(permissions))

    def unpublish(self, name: str) -> Agent:
        """Show the agent to nobody else any more; remixes that were made stay."""
        return self._transport.call("POST", _path(name, "unpublish"), Agent)

    def published(self, *, limit: int | None = None, offset: int = 0) -> tuple[Agent, ...]:
        """Published agents, the newest publication first: all, or at most 100 by a ``limit``. Needs no token."""
        query = without_none({"limit": limit, "offset": offset})
        return self._transport.get("/published/agents", tuple[Agent, ...], query)

    def get_published(self, name: str) -> Agent:
        """One published agent. Needs no token."""
        return self._transport.get(f"/published{_path(name)}", Agent)

    def runtime(self, name: str) -> Runtime:
        """How long the agent has been awake."""
        return self._transport.get(_path(name, "runtime"), Runtime)

    def hold(self, name: str, state: Literal["busy", "idle"]) -> StateAnswer:
        """``busy`` keeps the agent from falling asleep, ``idle`` ends that."""
        return self._transport.call("POST", _path(name, state), StateAnswer)

    def token(self, name: str, *, ttl_hours: float | None = None) -> AgentToken:
        """The agent's own token, for a program that works for it from outside and may do nothing else."""
        return self._transport.call("POST", _path(name, "token"), AgentToken, without_none({"ttl_hours": ttl_hours}))

    def set_state(self, name: str, state: AgentState) -> StateAnswer:
        """Ask for a state by its name."""
        return self._transport.call("PUT", _path(name, "state"), StateAnswer, {"state": state})


def _path(name: str, action: str | None = None) -> str:
    return f"/agents/{segment(name)}" + (f"/{action}" if action else "")
