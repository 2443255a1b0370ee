"""Following one response for a person, and ending it when he has seen enough. For ``ask`` and ``chat``."""

from typing import Any, cast

from rich.console import Console
from rich.text import Text

from raworc.cli.approvals import ask_person
from raworc.cli.transcript import TONES, Transcript
from raworc.client import Raworc
from raworc.client.shapes import DeltaEvent, Event, Response, ResponseEvent, SegmentEvent


def watch(client: Raworc, response: Response, out: Console, *, all_lines: bool = False) -> Response:
    """Show what happens to a response until it ends; the response as it ended."""
    transcript = Transcript(out, all_lines=all_lines)
    for event in client.responses.events(response.agent_name, response.id):
        _show(event, response, out, transcript)
        if (asked := _question(event, response)) is not None:
            ask_person(client, response.agent_name, asked)
        response = latest(event, response)
    return response


def latest(event: Event, response: Response) -> Response:
    """The response as an event tells it."""
    if isinstance(event, ResponseEvent) and event.response.id == response.id:
        return event.response
    return response


def withdraw(client: Raworc, response: Response) -> bool:
    """Cancel a response, or take it back while it still waits; False when it had ended before."""
    name = response.agent_name
    match client.responses.get(name, response.id).status:
        case "processing":
            client.agents.cancel(name)
        case "pending":  # the agent's cancel would stop what runs before it
            client.responses.update(name, response.id, status="failed")
        case _:
            return False
    return True


def _question(event: Event, response: Response) -> dict[str, Any] | None:
    """What a person has to decide before the response goes on."""
    if not isinstance(event, SegmentEvent) or event.response_id != response.id:
        return None
    told = event.segment.get("approval")
    return cast("dict[str, Any]", told) if isinstance(told, dict) and "tool_call_id" in told else None


def _show(event: Event, asked: Response, out: Console, transcript: Transcript) -> None:
    match event:
        case SegmentEvent(response_id=asked.id, segment=segment):
            transcript.segment(segment)
        case DeltaEvent(response_id=asked.id, text=text):
            transcript.delta(text)
        case ResponseEvent(response=Response(id=asked.id) as ended) if ended.is_settled:
            took_s = (ended.updated_at - ended.created_at).total_seconds()
            out.print(Text(f"{ended.status} in {took_s:.1f} s", style=TONES[ended.status]))
        case _:
            pass
