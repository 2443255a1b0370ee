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
    "relink": ("raworc.cli.relink:relink", "Find out again which conversation each recorded call belongs to."),
    "recost": ("raworc.cli.recost:recost", "Find the prices of recorded calls anew, by the installed table."),
    "retention": ("raworc.cli.retention:retention", "Drop recorded calls that are older than a number of days."),
    "doctor": ("raworc.cli.doctor:doctor", "Show what this host really enforces; try to break out of a sandbox."),
    "gateway": ("raworc.cli.gateway:app", "Check gateways for model calls, ours or any other."),
    "login": ("raworc.cli.login:login", "Log in and keep the token."),
    "logout": ("raworc.cli.login:logout", "Forget the token."),
    "status": ("raworc.cli.login:status", "Show which server answers, and as whom."),
    "agents": ("raworc.cli.agents:app", "Create agents, look after them, read their logs and files."),
    "code-agents": ("raworc.cli.code_agents:app", "Make agents of git repositories, deploy them, read their logs."),
    "builds": ("raworc.cli.builds:app", "Have code agents built, and watch how it goes."),
    "spaces": ("raworc.cli.spaces:app", "Look after spaces, the tenants of a server."),
    "secrets": ("raworc.cli.secrets:app", "Put secrets into a space, list them, reveal them, take them away."),
    "accounts": ("raworc.cli.accounts:app", "Look after service accounts, whose rights come from bindings."),
    "roles": ("raworc.cli.roles:app", "Look after roles: what accounts may be bound to."),
    "bindings": ("raworc.cli.bindings:app", "Give accounts roles, in one space or everywhere, and take them away."),
    "operators": ("raworc.cli.operators:app", "Look after accounts: create, change, delete them, set passwords."),
    "tokens": ("raworc.cli.tokens:app", "Make tokens for others."),
    "upstreams": ("raworc.cli.upstreams:app", "Set up the providers' accounts that model calls go to."),
    "keys": ("raworc.cli.client_keys:app", "Make, list and revoke keys for programs that call models."),
    "claude": ("raworc.cli.programs:claude", "Run Claude Code with its model calls through the server."),
    "codex": ("raworc.cli.programs:codex", "Run Codex with its model calls through the server."),
    "env": ("raworc.cli.programs:env", "Print what other programs need to call models through the server."),
    "stats": ("raworc.cli.train:stats", "Show the figures of recorded model calls."),
    "usage": ("raworc.cli.train:usage", "Show what was used on each day, and what it cost."),
    "requests": ("raworc.cli.train:requests", "List recorded model calls; show one with its bodies."),
    "conversations": ("raworc.cli.train:conversations", "List conversations of model calls, and the calls of one."),
    "blocklist": ("raworc.cli.blocklist:app", "Keep accounts out for the time being."),
    "audit": ("raworc.cli.audit:app", "Read the audit log, and examine whether it is what was written."),
    "ask": ("raworc.cli.ask:ask", "Give an agent work and watch it happen."),
    "chat": ("raworc.cli.chat:chat", "Talk with an agent."),
    "sessions": ("raworc.cli.sessions:app", "Look after sessions of spaces: create, read, pause, resume, end them."),
    "session": ("raworc.cli.session:session", "Talk with the agents of a space."),
    "api": ("raworc.cli.api:api", "Make any request of the documented API."),
    "shell": ("raworc.cli.shell:shell", "Open the shell, as 'raworc' alone does."),
    "systemd": ("raworc.cli.systemd:systemd", "Print a systemd unit for this installation."),
    "version": ("raworc.cli.version:version", "Show the version."),
}
"""Command -> where it lives, and its line of help. A command's module is loaded when it is asked for:
that keeps ``raworc version`` at a tenth of the time of ``raworc up``."""

PROGRAMS = frozenset({"claude", "codex"})
"""The commands that become another program: what is not an option of theirs goes to it."""

_PASSING_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


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
            app.command(name, help=summary, context_settings=_PASSING_ON if name in PROGRAMS else None)(target)
    return app


def _told(message: str, code: int) -> int:
    typer.secho(f"raworc: {message}", fg="red", err=True)
    return code


def _load(place: str) -> typer.Typer:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _not_loaded() -> None:
    raise Stop("this command was not asked for")
