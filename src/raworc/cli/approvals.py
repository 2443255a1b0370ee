"""``raworc agents approvals``, and the question that ``ask`` and ``chat`` put to a person."""

import json
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from raworc.cli.connection import connected
from raworc.cli.options import AgentName, Json
from raworc.cli.output import moment, print_json, print_rows, printable
from raworc.cli.stop import Stop
from raworc.client import Raworc
from raworc.client.errors import Conflict, NotFound
from raworc.client.shapes import Approval


@dataclass(frozen=True)
class ApprovalOptions:
    """What to decide; nothing: only look."""

    approve: Annotated[str | None, typer.Option(help="Let this call be made, by its id.")] = None
    deny: Annotated[str | None, typer.Option(help="Have this call not made, by its id.")] = None
    reason: Annotated[str | None, typer.Option(help="Why it is denied; the model is told.")] = None


def approvals(name: AgentName, options: ApprovalOptions, *, as_json: Json = False) -> None:
    """List tool calls that wait for a decision; approve or deny one."""
    if options.approve is not None and options.deny is not None:
        raise Stop("give one of --approve and --deny")
    if options.reason is not None and options.deny is None:
        raise Stop("--reason goes with --deny")
    with connected() as client:
        found = _decided(client, name, options) if options.approve or options.deny else client.approvals.open(name)
    if as_json:
        print_json(found)
    elif isinstance(found, Approval):
        typer.echo(f"{'approved' if found.decision == 'approve' else 'denied'} '{printable(found.tool)}'")
    else:
        rows = [(one.id, one.tool, json.dumps(one.args, ensure_ascii=False), moment(one.asked_at)) for one in found]
        print_rows(("id", "tool", "args", "asked"), rows)


def ask_person(client: Raworc, name: str, told: dict[str, Any]) -> None:
    """Ask whoever sits at the terminal about a call that a segment's ``approval`` tells of; else say how to decide.

    Raises:
        KeyboardInterrupt: he wants none of it.
    """
    approval_id = str(told.get("id", ""))
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        shown = printable(f"{name} --approve {approval_id}")
        typer.secho(f"decide with: raworc agents approvals {shown}  (or --deny)", fg="yellow", err=True)
        return
    try:
        said = typer.prompt("Run it? y approves, n denies, Enter leaves it waiting", "", show_default=False, err=True)
    except typer.Abort:
        raise KeyboardInterrupt from None
    try:
        match said.strip().lower():
            case "y" | "yes":
                client.approvals.approve(name, approval_id)
            case "n" | "no":
                client.approvals.deny(name, approval_id)
            case _:
                typer.secho(f"it waits; see 'raworc agents approvals {printable(name)}'", fg="yellow", err=True)
    except (Conflict, NotFound) as error:  # somebody else was faster, or it has ended
        typer.secho(printable(str(error)), fg="yellow", err=True)


def _decided(client: Raworc, name: str, options: ApprovalOptions) -> Approval:
    if options.approve is not None:
        return client.approvals.approve(name, options.approve)
    return client.approvals.deny(name, options.deny or "", reason=options.reason)
