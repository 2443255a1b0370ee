"""``raworc login``, ``logout`` and ``status``: who this command line is, and for which server."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from raworc.cli.connection import explain, refusals_explained
from raworc.cli.credentials import Credentials, forget, load, save
from raworc.cli.options import Json
from raworc.cli.output import moment, print_fields, print_json
from raworc.cli.stop import FAILED, Stop
from raworc.client import DEFAULT_URL, Raworc
from raworc.client.errors import ClientError
from raworc.settings import DEFAULT_PASSWORD, read_client_settings

Url = Annotated[str | None, typer.Option(help=f"The server's address. [default: the last one, else {DEFAULT_URL}]")]
User = Annotated[str, typer.Option(help="The account's name.")]
CaFile = Annotated[Path | None, typer.Option("--ca-file", help="Trust this CA (PEM), now and in later commands.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]

_STORAGE = {"low": "low: the server's disk is nearly full, new work is refused until there is room"}


def login(
    *, url: Url = None, user: User = "admin", password_stdin: PasswordStdin = False, ca_file: CaFile = None
) -> None:
    """Log in and keep the token, readable by you alone."""
    settings = read_client_settings()
    address = (url or _address()).rstrip("/")
    trusted = ca_file.absolute() if ca_file else _ca_file(address)
    with refusals_explained(), Raworc(address, ca_file=trusted) as client:
        client.version()  # no server there: say so before asking for a password
        password = _password(user, from_stdin=password_stdin)
        answer = client.login(user, password)
    save(
        settings.credentials,
        Credentials(address, answer.user, answer.token, answer.expires_at, str(trusted) if trusted else None),
    )
    typer.echo(f"Logged in to {address} as '{answer.user}' ({answer.role}) until {moment(answer.expires_at)} UTC.")
    if password == DEFAULT_PASSWORD:
        typer.secho(
            "This is the documented first password. RAWORC_ADMIN_PASSWORD at the first start of a home sets another.",
            fg="yellow",
        )


def logout() -> None:
    """Forget the token."""
    was_in = forget(read_client_settings().credentials)
    typer.echo("Logged out." if was_in else "Was not logged in.")


def status(*, as_json: Json = False) -> None:
    """Show which server answers, and as whom. Fails when either is missing."""
    settings = read_client_settings()
    saved = load(settings.credentials)
    address = _address()
    token = settings.token or (saved.token if saved and saved.url == address else None)
    facts, problem = _facts(address, token)
    if saved and token == saved.token:
        facts["token_until"] = moment(saved.expires_at)
    if as_json:
        print_json({**facts, "problem": problem})
    else:
        print_fields([(name.replace("_", " "), value) for name, value in facts.items()])
    if problem:
        raise Stop(problem, code=FAILED)


def _facts(address: str, token: str | None) -> tuple[dict[str, str], str | None]:
    facts = {"server": address}
    try:
        with Raworc(address, token, timeout_s=5, ca_file=_ca_file(address)) as client:
            facts["version"] = client.version().version
            health = client.health()
            facts["storage"] = _STORAGE.get(health.storage, health.storage)
            if token is None:
                return facts, "not logged in: run 'raworc login'"
            profile = client.whoami()
            facts |= {"user": profile.user, "role": profile.type}
            facts["agents"] = str(client.agents.page(limit=1).total)
    except ClientError as error:
        return facts, explain(error)
    return facts, None


def _address() -> str:
    settings = read_client_settings()
    if settings.url:
        return settings.url.rstrip("/")
    saved = load(settings.credentials)
    return saved.url if saved else DEFAULT_URL


def _ca_file(address: str) -> Path | None:
    settings = read_client_settings()
    saved = None if settings.ca_file else load(settings.credentials)
    return settings.ca_file or (saved.trusts if saved and saved.url == address else None)


def _password(user: str, *, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise Stop("there is no terminal to ask for the password: use '--password-stdin'")
    return str(typer.prompt(f"Password of '{user}'", hide_input=True))
