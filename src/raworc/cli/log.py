"""``raworc agents log`` and ``requests``: what an agent did, and the model calls it took."""

from typing import Annotated

import typer
from rich.text import Text

from raworc.cli.connection import connected
from raworc.cli.options import AgentName, Json
from raworc.cli.output import console, moment, print_json, print_rows
from raworc.cli.transcript import TONES, Transcript
from raworc.client.shapes import ModelCall

Last = Annotated[int, typer.Option("--last", help="Only the newest so many responses.")]
Full = Annotated[bool, typer.Option("--full", help="Show long commands and outputs whole.")]


def log(name: AgentName, *, last: Last = 20, full: Full = False, as_json: Json = False) -> None:
    """Show what an agent was asked and did, oldest first."""
    with connected() as client:
        offset = max(0, client.responses.count(name) - last)
        responses = client.responses.list(name, limit=last, offset=offset)
    if as_json:
        for response in responses:
            print_json(response)
        return
    out = console()
    for response in responses:
        out.print(Text(f"{moment(response.created_at)}  {response.id}  ", style="dim"), end="")
        out.print(Text(response.status, style=TONES.get(response.status, "cyan")))
        transcript = Transcript(out, all_lines=full)
        for item in response.input_content:
            transcript.asked(str(item.get("content") or item.get("text") or ""))
        for segment in response.segments:
            transcript.segment(segment)


def requests(name: AgentName, *, as_json: Json = False) -> None:
    """Show the recorded model calls of an agent, newest first."""
    with connected() as client:
        page = client.requests.of_agent(name)
    if as_json:
        print_json(page)
        return
    heads = ("WHEN (UTC)", "MODEL", "STATUS", "TOKENS IN", "OUT", "MS", "RESPONSE")
    print_rows(heads, [_row(call) for call in page.requests])


def _row(call: ModelCall) -> tuple[str, ...]:
    took = f"{call.response_time_ms:.0f}" if call.response_time_ms is not None else "-"
    return (
        moment(call.created_at),
        call.model or "-",
        str(call.status_code or "-"),
        str(call.input_tokens),
        str(call.output_tokens),
        took,
        call.turn_id or "-",
    )
