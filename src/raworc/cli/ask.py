"""``raworc ask``: give an agent work, watch it happen, and fail when the work fails."""

import sys
from dataclasses import dataclass
from typing import Annotated, NoReturn

import typer

from raworc.cli.connection import connected
from raworc.cli.options import AgentName, Json, spread
from raworc.cli.output import console, print_json
from raworc.cli.stop import FAILED, INTERRUPTED, Stop
from raworc.cli.watching import latest, watch, withdraw
from raworc.client import Raworc
from raworc.client.shapes import DeltaEvent, Event, Response, ResponseEvent, SegmentEvent, StateEvent

Prompt = Annotated[str, typer.Argument(help="The work; '-' reads it from standard input.", show_default=False)]
WhenBusy = Annotated[str, typer.Option(help="What to do when the agent is busy: queue, reject or interrupt.")]
Full = Annotated[bool, typer.Option("--full", help="Show long commands and outputs whole.")]
Background = Annotated[bool, typer.Option("--background", help="Do not wait; print the response's id.")]


@dataclass(frozen=True)
class AskOptions:
    """How to ask and what to show."""

    when_busy: WhenBusy = "queue"
    background: Background = False
    full: Full = False
    as_json: Json = False


@spread
def ask(name: AgentName, prompt: Prompt, options: AskOptions) -> None:
    """Give an agent work and watch it happen. Ctrl-C offers to cancel it."""
    text = sys.stdin.read() if prompt == "-" else prompt
    with connected() as client:
        response = client.responses.create(name, text, when_busy=options.when_busy)
        if options.background:
            _announce(response, as_json=options.as_json)
            return
        try:
            if options.as_json:
                ended = _print_events(client, response)
            else:
                ended = watch(client, response, console(), all_lines=options.full)
        except KeyboardInterrupt:
            _interrupted(client, response)
    if ended.status != "completed":
        raise Stop(f"the response '{ended.id}' ended {ended.status}", code=FAILED)


def _print_events(client: Raworc, response: Response) -> Response:
    for event in client.responses.events(response.agent_name, response.id):
        print_json(_as_line(event))
        response = latest(event, response)
    return response


def _as_line(event: Event) -> dict[str, object]:
    match event:
        case SegmentEvent():
            return {"event": "segment", "id": event.id, "seq": event.seq, "segment": event.segment}
        case ResponseEvent():
            return {"event": "response", "id": event.id, "response": event.response}
        case StateEvent():
            return {"event": "state", "id": event.id, "state": event.state}
        case DeltaEvent():
            return {"event": "delta", "channel": event.channel, "text": event.text}


def _announce(response: Response, *, as_json: bool) -> None:
    if as_json:
        print_json(response)
    else:
        typer.echo(response.id)


def _interrupted(client: Raworc, response: Response) -> NoReturn:
    """Cancel the work if that is wanted; without a terminal to ask, Ctrl-C means that it is."""
    name, goes_on = response.agent_name, f"it goes on; see 'raworc agents log {response.agent_name}'"
    try:
        typer.echo("", err=True)
        if sys.stdin.isatty() and not typer.confirm(f"Cancel what '{name}' is doing?", default=True, err=True):
            raise Stop(goes_on, code=INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        raise Stop(goes_on, code=INTERRUPTED) from None
    if not withdraw(client, response):
        raise Stop("it ended just before", code=INTERRUPTED)
    raise Stop("cancelled", code=INTERRUPTED)
