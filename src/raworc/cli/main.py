"""The entry point: finds the command's module in a table, runs it, and turns errors into next steps."""

import importlib
import sys
from collections.abc import Sequence

import typer

from raworc.cli.stop import FAILED, INTERRUPTED, Stop
from raworc.errors import RaworcError

COMMANDS = {
    "up": ("raworc.cli.up:up", "Start everything on this machine: Postgres, server, operator, recorder."),
    "server": ("raworc.cli.server:server", "Run a server process alone."),
    "operator": ("raworc.cli.operator:operator", "Run an operator process alone."),
    "recorder": ("raworc.cli.recorder:recorder", "Run a recorder process alone."),
    "backup": ("raworc.cli.backup:backup", "Write database, keys and workspaces to one file, while everything runs."),
    "restore": ("raworc.cli.restore:restore", "Fill a home from a backup."),
    "rotate-key": ("raworc.cli.rotate:rotate_key", "Replace the master key that secrets are kept under."),
    "doctor": ("raworc.cli.doctor:doctor", "Show what this host really enforces; try to break out of a sandbox."),
    "login": ("raworc.cli.login:login", "Log in and keep the token."),
    "logout": ("raworc.cli.login:logout", "Forget the token."),
    "status": ("raworc.cli.login:status", "Show which server answers, and as whom."),
    "agents": ("raworc.cli.agents:app", "Create agents, look after them, read their logs and files."),
    "operators": ("raworc.cli.operators:app", "Look after accounts: create, change, delete them, set passwords."),
    "tokens": ("raworc.cli.tokens:app", "Make tokens for others."),
    "blocklist": ("raworc.cli.blocklist:app", "Keep accounts out for the time being."),
    "ask": ("raworc.cli.ask:ask", "Give an agent work and watch it happen."),
    "chat": ("raworc.cli.chat:chat", "Talk with an agent."),
    "api": ("raworc.cli.api:api", "Make any request of the documented API."),
    "shell": ("raworc.cli.shell:shell", "Open the shell, as 'raworc' alone does."),
    "version": ("raworc.cli.version:version", "Show the version."),
}
"""Command -> where it lives, and its line of help. A command's module is loaded when it is asked for:
that keeps ``raworc version`` at a tenth of the time of ``raworc up``."""


def main() -> None:
    """Run the command line of this process; never returns normally."""
    sys.exit(run(sys.argv[1:] or ["shell"]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. What goes wrong is told on standard error."""
    try:
        application(arguments)(arguments, prog_name="raworc")
    except Stop as stop:
        return _told(stop.message, stop.code)
    except RaworcError as error:  # of our own side: a setting, a start that is refused
        return _told(error.message, FAILED)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def application(arguments: Sequence[str]) -> typer.Typer:
    """The whole tree of commands, of which only the one in ``arguments`` can run."""
    app = typer.Typer(
        help="Run AI agents remotely in real sandboxes, and account for every model call they make.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, (place, summary) in COMMANDS.items():
        target = _load(place) if name == wanted else _not_loaded
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name, help=summary)
        else:
            app.command(name, help=summary)(target)
    return app


def _told(message: str, code: int) -> int:
    typer.secho(f"raworc: {message}", fg="red", err=True)
    return code


def _load(place: str) -> typer.Typer:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _not_loaded() -> None:
    raise Stop("this command was not asked for")
