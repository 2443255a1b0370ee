"""``raworc recost``: prices of recorded calls found anew, while everything runs."""

from typing import Annotated

import typer

from raworc.cli.address import DatabaseUrl, Home
from raworc.cli.options import Json
from raworc.cli.output import print_json, print_rows
from raworc.settings import read_settings
from raworc.supervisor.ledger import run_recost


def recost(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    home: Home = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Find out again what each recorded call cost, by the table of prices of this version, at its own time's prices.

    All sums change with the calls. May be cut short and run again; a call whose price is the same keeps it. A price
    that nobody knows stays unknown, and is counted as such.
    """
    found = run_recost(read_settings(home=home, database_url=database_url), _tell, dry_run=dry_run)
    models = sorted(found.models.items())
    if as_json:
        changes = {model: {name: _plain(value) for name, value in vars(one).items()} for model, one in models}
        print_json({"seen": found.seen, "changed": found.changed, "dry_run": dry_run, "models": changes})
        return
    if models:
        rows = [
            (
                *(model or "-", str(one.calls), f"{one.before:.6f}", f"{one.after:.6f}"),
                *(f"{one.after - one.before:+.6f}", str(one.unpriced_before), str(one.unpriced_after)),
            )
            for model, one in models
        ]
        print_rows(("MODEL", "CALLS", "USD BEFORE", "USD NOW", "CHANGE", "UNPRICED BEFORE", "UNPRICED NOW"), rows)
    typer.echo(f"{found.changed} of {found.seen} calls {'would get' if dry_run else 'have'} another price.")


def _plain(value: object) -> object:
    return value if isinstance(value, int) else float(str(value))


def _tell(doing: str, count: int) -> None:
    typer.echo(f"{count} calls {doing}", err=True)
