"""``raworc agents sleep`` and ``wake``."""

import time
from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import AgentName, Json
from raworc.cli.output import print_json
from raworc.cli.stop import Stop
from raworc.client import Raworc
from raworc.client.shapes import Agent, AgentState

Wait = Annotated[bool, typer.Option("--wait", help="Return when it is so, not when it is on its way.")]
Delay = Annotated[int | None, typer.Option(help="Seconds until it sleeps, at least 5.")]
Note = Annotated[str | None, typer.Option(help="Shown in its log.")]
Prompt = Annotated[str | None, typer.Option(help="Work for it.")]

_PATIENCE_S = 60.0
_POLL_S = 0.1


def sleep(
    name: AgentName, *, delay: Delay = None, note: Note = None, wait: Wait = False, as_json: Json = False
) -> None:
    """Put an agent to sleep: its files stay, its processes end."""
    with connected() as client:
        agent = client.agents.sleep(name, delay_s=delay, note=note)
        if wait:
            agent = _until(client, agent.name, ("slept",), _PATIENCE_S + (delay or 0))
    _tell(agent, as_json=as_json, text=f"'{agent.name}' is {'asleep' if wait else 'about to sleep'}.")


def wake(name: AgentName, *, prompt: Prompt = None, wait: Wait = False, as_json: Json = False) -> None:
    """Wake an agent in a fresh sandbox around the same files."""
    with connected() as client:
        agent = client.agents.wake(name, prompt=prompt)
        if wait:
            agent = _until(client, agent.name, ("idle", "busy"), _PATIENCE_S)
    _tell(agent, as_json=as_json, text=f"'{agent.name}' is {'awake' if wait else 'waking up'}.")


def _until(client: Raworc, name: str, states: tuple[AgentState, ...], patience_s: float) -> Agent:
    deadline = time.monotonic() + patience_s
    while (agent := client.agents.get(name)).state not in states:
        if time.monotonic() > deadline:
            raise Stop(f"'{name}' is still {agent.state} after {patience_s:.0f} s: see 'raworc agents log {name}'")
        time.sleep(_POLL_S)
    return agent


def _tell(agent: Agent, *, as_json: bool, text: str) -> None:
    if as_json:
        print_json(agent)
    else:
        typer.echo(text)
