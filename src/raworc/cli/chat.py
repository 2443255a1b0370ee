"""``raworc chat``: a conversation with one agent, every step shown as it happens."""

import sys
from collections.abc import Iterator

import typer
from prompt_toolkit import PromptSession

from raworc.cli.connection import connected, explain
from raworc.cli.history import PrivateHistory
from raworc.cli.keys import multiline_keys
from raworc.cli.options import AgentName
from raworc.cli.output import console, printable
from raworc.cli.stop import FAILED, INTERRUPTED, Stop
from raworc.cli.watching import watch, withdraw
from raworc.client import Raworc
from raworc.client.errors import ClientError, NotFound, Unauthorized
from raworc.client.shapes import Response
from raworc.settings import read_client_settings

_FENCE = "```"
_LEAVING = ("/quit", "/exit")
_HELP = """Type work for the agent and press Enter.
  Esc Enter, or Enter while a ``` block is open    another line
  Ctrl-C                                           cancel what it is doing; clear what you typed
  Ctrl-D or /quit                                  leave; its work goes on"""


def chat(name: AgentName) -> None:
    """Talk with an agent. Ctrl-C cancels what it is doing, Ctrl-D leaves."""
    with connected() as client:
        agent = client.agents.get(name)
        if sys.stdin.isatty():
            typer.echo(f"'{agent.name}' is {agent.state}. Ctrl-C cancels, Ctrl-D leaves, '/help' tells more.")
            for prompt in typed(agent.name, _HELP):
                _answer(client, agent.name, prompt)
            return
        for prompt in prompts_of(line.decode(errors="replace").rstrip("\r\n") for line in sys.stdin.buffer):
            if _answer(client, agent.name, prompt) != "completed":
                raise Stop(f"'{agent.name}' did not complete the work, the rest was not sent", code=FAILED)


def prompts_of(lines: Iterator[str]) -> Iterator[str]:
    """One prompt a line; an open block of code holds several lines together."""
    pending: list[str] = []
    for line in lines:
        if not pending and not line.strip():
            continue
        if not pending and line.strip() in _LEAVING:
            return
        pending.append(line)
        if is_closed("\n".join(pending)):
            yield "\n".join(pending)
            pending = []
    if pending:
        yield "\n".join(pending)


def is_closed(text: str) -> bool:
    """Whether every block of code has its end."""
    return sum(line.lstrip().startswith(_FENCE) for line in text.split("\n")) % 2 == 0


def typed(name: str, help_text: str) -> Iterator[str]:
    """What a person types at the prompt ``name``, until he leaves."""
    history = PrivateHistory(read_client_settings().history.with_name("chat-history"))
    session = PromptSession[str](history=history, multiline=True, key_bindings=multiline_keys(is_closed))
    while True:
        try:
            text = session.prompt(f"{printable(name)}> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text in _LEAVING:
            return
        if text == "/help":
            typer.echo(help_text)
        elif text:
            yield text


def _answer(client: Raworc, name: str, prompt: str) -> str | None:
    """How the response ended; None where it was not taken or its end is not known."""
    try:
        response = client.responses.create(name, prompt)
        try:
            return watch(client, response, console()).status
        except KeyboardInterrupt:
            return _interrupted(client, response)
    except (NotFound, Unauthorized):  # nothing that is typed here would change that
        raise
    except ClientError as error:
        if not sys.stdin.isatty():
            raise
        typer.secho(explain(error), fg="red", err=True)
        return None


def _interrupted(client: Raworc, response: Response) -> str | None:
    typer.echo("", err=True)
    try:
        typer.secho("cancelled" if withdraw(client, response) else "it ended just before", fg="yellow", err=True)
    except KeyboardInterrupt:
        raise Stop(f"it goes on; see 'raworc agents log {response.agent_name}'", code=INTERRUPTED) from None
    if not sys.stdin.isatty():
        raise Stop("interrupted, the rest was not sent", code=INTERRUPTED)
    return None
