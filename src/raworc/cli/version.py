"""``raworc version``: this program's own version; the server's stands in ``raworc status``."""

import typer

from raworc import __version__


def version() -> None:
    """Show the version."""
    typer.echo(f"raworc {__version__}")
