"""``raworc retention``: days of recorded calls that go, while everything runs."""

from typing import Annotated

import typer

from raworc.cli.address import DatabaseUrl, Home
from raworc.cli.output import print_rows
from raworc.settings import read_settings
from raworc.supervisor.ledger import run_retention


def retention(
    *,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="How many days before today (UTC) are kept.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    home: Home = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Drop the recorded calls of whole days (UTC), and conversations of which no call is left.

    The sums of hours and days stay: figures of the past do not change. What is recorded later of a day that was
    dropped is counted by '/metrics' and not stored. May be cut short and run again.
    `RAWORC_RETENTION_DAYS` does the same by itself.
    """
    settings = read_settings(home=home, database_url=database_url)
    found = run_retention(settings, days, _tell, dry_run=dry_run)
    if dry_run and found.days:
        print_rows(("DAY", "CALLS"), [(old.day.isoformat(), str(old.calls)) for old in found.days])
    verb = "would go" if dry_run else "are gone"
    typer.echo(f"{found.calls} calls of {len(found.days)} days {verb}; kept since {found.since:%Y-%m-%d}.")


def _tell(day: str) -> None:
    typer.echo(f"dropped {day}", err=True)
