"""``raworc login``, ``logout`` and ``status``: who this command line is, and for which server."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from raworc.cli.connection import access, explain, refusals_explained
from raworc.cli.credentials import Credentials, forget, save
from raworc.cli.options import Json
from raworc.cli.output import moment, print_fields, print_json
from raworc.cli.passwords import PasswordStdin, old_password
from raworc.cli.stop import FAILED, Stop
from raworc.client import DEFAULT_URL, Raworc
from raworc.client.errors import ClientError
from raworc.settings import DEFAULT_PASSWORD, read_client_settings

Url = Annotated[str | None, typer.Option(help=f"The server's address. [default: the last one, else {DEFAULT_URL}]")]
User = Annotated[str, typer.Option(help="The account's name.")]
Provider = Annotated[
    str | None,
    typer.Option(help="Log in with a token of this identity provider, read from standard input.", metavar="NAME"),
]
CaFile = Annotated[Path | None, typer.Option("--ca-file", help="Trust this CA (PEM), now and in later commands.")]

_STORAGE = {"low": "low: the server's disk is nearly full, new work is refused until there is room"}


def login(
    *,
    url: Url = None,
    user: User = "admin",
    password_stdin: PasswordStdin = False,
    provider: Provider = None,
    ca_file: CaFile = None,
) -> None:
    """Log in and keep the token, readable by you alone."""
    known = access(url)
    trusted = ca_file.absolute() if ca_file else known.ca_file
    password = None
    with refusals_explained(), Raworc(known.url, ca_file=trusted) as client:
        client.version()  # no server there: say so before asking for a password
        if provider is None:
            password = old_password(user, from_stdin=password_stdin)
            answer = client.login(user, password)
        else:
            answer = client.login_external(provider, _token_of(provider))
    save(
        read_client_settings().credentials,
        Credentials(known.url, answer.user, answer.token, answer.expires_at, str(trusted) if trusted else None),
    )
    typer.echo(f"Logged in to {known.url} as '{answer.user}' ({answer.role}) until {moment(answer.expires_at)} UTC.")
    if password == DEFAULT_PASSWORD:
        typer.secho(
            f"This is the documented first password. Set one of your own: 'raworc operators password {answer.user}'.",
            fg="yellow",
        )


def _token_of(provider: str) -> str:
    """From a file or a program: a terminal cuts lines of more than 4,096 bytes."""
    if sys.stdin.isatty():
        raise Stop(f"no token: give it by standard input, as in 'raworc login --provider {provider} < FILE'")
    return sys.stdin.read().strip()


def logout() -> None:
    """Forget the token."""
    was_in = forget(read_client_settings().credentials)
    typer.echo("Logged out." if was_in else "Was not logged in.")


def status(*, as_json: Json = False) -> None:
    """Show which server answers, and as whom. Fails when either is missing."""
    facts, problem = facts_and_problem()
    if as_json:
        print_json({**facts, "problem": problem})
    else:
        print_fields([(name.replace("_", " "), value) for name, value in facts.items()])
    if problem:
        raise Stop(problem, code=FAILED)


def facts_and_problem() -> tuple[dict[str, str], str | None]:
    """What can be found out about the server and the login, and what is in the way of using them."""
    known = access()
    facts = {"server": known.url}
    try:
        with known.client(timeout_s=5) as client:
            facts["version"] = client.version().version
            health = client.health()
            facts["storage"] = _STORAGE.get(health.storage, health.storage)
            if known.token is None:
                return facts, "not logged in: run 'raworc login'"
            profile = client.whoami()
            facts |= {"user": profile.user, "role": profile.type}
            facts["agents"] = str(client.agents.page(limit=1).total)
    except ClientError as error:
        return facts, explain(error)
    if known.saved and known.token == known.saved.token:
        facts["token_until"] = moment(known.saved.expires_at)
    return facts, None
