"""``raworc stats``, ``usage``, ``requests`` and ``conversations``: what model calls were recorded and used."""

from dataclasses import dataclass
from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import Json, spread
from raworc.cli.output import moment, print_fields, print_json, print_rows
from raworc.client.train_shapes import Chosen, RecordedCall

requests = typer.Typer(no_args_is_help=True)
conversations = typer.Typer(no_args_is_help=True)


@dataclass(frozen=True)
class Whose:
    """Which calls are meant."""

    space: Annotated[str | None, typer.Option(help="Of this space.")] = None
    train: Annotated[str | None, typer.Option(help="Of this train.")] = None
    account: Annotated[str | None, typer.Option(help="Of this upstream account.")] = None
    start: Annotated[str | None, typer.Option("--from", help="From this time (UTC) on, as '2026-01-31'.")] = None
    end: Annotated[str | None, typer.Option("--to", help="Before this time (UTC).")] = None
    model: Annotated[str | None, typer.Option(help="That asked for this model.")] = None
    kind: Annotated[str | None, typer.Option(help="'inference', 'query_evaluation' or 'quota'.")] = None
    status: Annotated[str | None, typer.Option(help="'success', 'error', a status as 429, or 4xx.")] = None


Limit = Annotated[int, typer.Option(min=1, max=100, help="How many.")]
Offset = Annotated[int, typer.Option(min=0, help="How many to skip.")]


@spread
def stats(whose: Whose, *, as_json: Json = False) -> None:
    """Show the figures of the last 24 hours, or of a period."""
    with connected() as client:
        found = client.train.stats(**_chosen(whose))
    if as_json:
        print_json(found)
        return
    print_fields(
        [
            ("period", f"{moment(found.period.start)} to {moment(found.period.end)}"),
            ("calls", f"{found.total_requests} of {found.active_trains} trains"),
            ("answered", f"{found.success_rate:.1f} %"),
            ("latency", f"{found.average_latency:.0f} ms on average"),
            ("tokens", str(found.total_tokens)),
            ("subtasks", str(found.total_subtasks)),
            ("cost", _money(found.cost_usd, found.unpriced_requests)),
        ]
    )


@spread
def usage(
    whose: Whose,
    *,
    days: Annotated[int, typer.Option(min=1, max=365, help="How many days (UTC), today included.")] = 7,
    as_json: Json = False,
) -> None:
    """Show what was used on each day, and what it cost."""
    with connected() as client:
        found = client.train.daily(days, **_chosen(whose))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            day.date or "together",
            str(day.requests),
            str(day.input_tokens),
            str(day.output_tokens),
            str(day.cache_read_input_tokens + day.cache_creation_input_tokens),
            f"{day.estimated_cost:.4f}",
            str(day.unpriced_requests),
        )
        for day in (*found.days, found.totals)
    ]
    print_rows(("DAY", "CALLS", "INPUT", "OUTPUT", "CACHE", "USD", "UNPRICED"), rows)


@requests.command("list")
@spread
def list_requests(whose: Whose, *, limit: Limit = 20, offset: Offset = 0, as_json: Json = False) -> None:
    """List recorded model calls, the newest first."""
    with connected() as client:
        found = client.train.requests(limit=limit, offset=offset, **_chosen(whose))
    if as_json:
        print_json(found)
        return
    print_rows(_CALL_HEADS, [_call(call) for call in found.requests])
    typer.echo(f"{len(found.requests)} of {found.pagination['total']} calls", err=True)


@requests.command("show")
def show_request(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="The call's id.", show_default=False)],
) -> None:
    """Print one recorded call with its bodies, as JSON."""
    with connected() as client:
        print_json(client.train.request(request_id))


@conversations.command("list")
@spread
def list_conversations(whose: Whose, *, limit: Limit = 20, offset: Offset = 0, as_json: Json = False) -> None:
    """List conversations, the last used first."""
    with connected() as client:
        found = client.train.conversations(limit=limit, offset=offset, **_chosen(whose))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            item.conversation_id,
            moment(item.last_message_at),
            item.trainId,
            str(item.request_count),
            str(len(item.branches)),
            str(item.subtask_count),
            str(item.total_tokens),
            f"{item.cost_usd:.4f}",
        )
        for item in found.conversations
    ]
    print_rows(("ID", "LAST USED (UTC)", "TRAIN", "CALLS", "BRANCHES", "SUBTASKS", "TOKENS", "USD"), rows)
    typer.echo(f"{len(rows)} of {found.pagination['total']} conversations", err=True)


@conversations.command("show")
def show_conversation(
    conversation_id: Annotated[str, typer.Argument(metavar="ID", help="The conversation's id.", show_default=False)],
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    as_json: Json = False,
) -> None:
    """List the calls of a conversation, the oldest first."""
    with connected() as client:
        found = client.train.conversation(conversation_id, limit=limit, offset=offset)
    if as_json:
        print_json(found)
        return
    rows = [(*_call(call), call.branch_id or "-") for call in found.requests]
    print_rows((*_CALL_HEADS, "BRANCH"), rows)
    typer.echo(f"{len(rows)} of {found.request_count} calls", err=True)


_CALL_HEADS = ("ID", "BEGAN (UTC)", "TRAIN", "MODEL", "STATUS", "MS", "INPUT", "OUTPUT", "USD")


def _call(call: RecordedCall) -> tuple[str, ...]:
    return (
        call.id,
        moment(call.created_at),
        call.trainId,
        call.model or "-",
        call.error_type or str(call.status_code),
        str(call.response_time_ms),
        str(call.input_tokens),
        str(call.output_tokens),
        "-" if call.cost_usd is None else f"{call.cost_usd:.4f}",
    )


def _chosen(whose: Whose) -> Chosen:
    return {
        "space": whose.space,
        "train_id": whose.train,
        "account_id": whose.account,
        "model": whose.model,
        "request_type": whose.kind,
        "status": whose.status,
        "start": whose.start,
        "end": whose.end,
    }


def _money(usd: float, unpriced: int) -> str:
    return f"{usd:.4f} USD" + (f", {unpriced} calls without a known price" if unpriced else "")
