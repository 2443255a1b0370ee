"""``raworc upstreams``: the providers' accounts that model calls go to."""

import json
import sys
from dataclasses import dataclass
from typing import Annotated, Any, cast

import typer

from raworc.cli.connection import connected
from raworc.cli.options import Json, spread
from raworc.cli.output import moment, print_json, print_rows
from raworc.cli.stop import Stop
from raworc.client.upstream_shapes import Provider, Upstream, UpstreamChange, UpstreamFields

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name or id.", show_default=False)]
_FROM_STDIN = "Read the credential from standard input: a key, or OAuth tokens as a JSON object."


@dataclass(frozen=True)
class Said:
    """What a new upstream is."""

    provider: Annotated[Provider, typer.Option(help="Whose wire it speaks; custom: both.")]
    base_url: Annotated[str | None, typer.Option(help="Where it is; by default the provider's own address.")] = None
    model: Annotated[
        list[str] | None, typer.Option(help="A model that it serves, '*' for any text; may be repeated. Else all.")
    ] = None
    space: Annotated[
        list[str] | None, typer.Option(help="A space that may use it; may be repeated. Else every one.")
    ] = None
    default: Annotated[bool, typer.Option("--default", help="Prefer it to others that serve the same.")] = False
    credential_stdin: Annotated[bool, typer.Option("--credential-stdin", help=_FROM_STDIN)] = False
    no_credential: Annotated[bool, typer.Option("--no-credential", help="It is called without a credential.")] = False


@dataclass(frozen=True)
class Changed:
    """What to change of one."""

    rename: Annotated[str | None, typer.Option(help="Another name.")] = None
    provider: Annotated[Provider | None, typer.Option(help="Whose wire it speaks; custom: both.")] = None
    base_url: Annotated[
        str | None, typer.Option(help="Where it is; at another host it needs its credential again.")
    ] = None
    model: Annotated[list[str] | None, typer.Option(help="A model that it serves; may be repeated.")] = None
    every_model: Annotated[bool, typer.Option("--every-model", help="It serves all models.")] = False
    space: Annotated[list[str] | None, typer.Option(help="A space that may use it; may be repeated.")] = None
    every_space: Annotated[bool, typer.Option("--every-space", help="Every space may use it.")] = False
    default: Annotated[
        bool | None, typer.Option("--default/--no-default", help="Prefer it to others that serve the same.")
    ] = None
    credential: Annotated[bool, typer.Option("--credential", help="Ask for another credential.")] = False
    credential_stdin: Annotated[bool, typer.Option("--credential-stdin", help=_FROM_STDIN)] = False
    no_credential: Annotated[bool, typer.Option("--no-credential", help="Call it without a credential.")] = False


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the upstreams that you may see; those from the server's environment, too."""
    with connected() as client:
        found = client.upstreams.list()
    if as_json:
        print_json(found)
        return
    headings = ("NAME", "PROVIDER", "ADDRESS", "MODELS", "SPACES", "CREDENTIAL", "SOURCE")
    print_rows(headings, [_row(item) for item in found])


@app.command()
def show(name: Name, *, as_json: Json = False) -> None:
    """Show one; never what it is called with."""
    with connected() as client:
        found = client.upstreams.get(name)
    _print(found, as_json=as_json)


@app.command()
@spread
def create(name: Name, said: Said, *, as_json: Json = False) -> None:
    """Add one. Its credential is asked for, or read from standard input; never given as an argument."""
    fields = UpstreamFields(base_url=said.base_url, models=said.model, spaces=said.space, default=said.default)
    if not said.no_credential:
        fields["credential"] = _credential(name, from_stdin=said.credential_stdin)
    with connected() as client:
        made = client.upstreams.create(name, said.provider, **fields)
    _print(made, as_json=as_json)


@app.command()
@spread
def update(name: Name, changed: Changed, *, as_json: Json = False) -> None:
    """Change what is given; within a second it holds everywhere."""
    fields = _change(changed)
    if changed.credential or changed.credential_stdin:
        fields["credential"] = _credential(name, from_stdin=changed.credential_stdin)
    if not fields:
        raise Stop("nothing to change: see 'raworc upstreams update --help'")
    with connected() as client:
        found = client.upstreams.update(name, **fields)
    _print(found, as_json=as_json)


@app.command()
def refresh(name: Name, *, as_json: Json = False) -> None:
    """Renew its OAuth tokens now."""
    with connected() as client:
        found = client.upstreams.refresh(name)
    _print(found, as_json=as_json)


@app.command()
def delete(name: Name) -> None:
    """Take one away. Calls that run end as they would have."""
    with connected() as client:
        client.upstreams.delete(name)
    typer.echo(f"Deleted upstream '{name}'.")


def _change(changed: Changed) -> UpstreamChange:
    fields = UpstreamChange()
    if changed.rename is not None:
        fields["name"] = changed.rename
    if changed.provider is not None:
        fields["provider"] = changed.provider
    if changed.base_url is not None:
        fields["base_url"] = changed.base_url
    if changed.model or changed.every_model:
        fields["models"] = changed.model
    if changed.space or changed.every_space:
        fields["spaces"] = changed.space
    if changed.default is not None:
        fields["default"] = changed.default
    if changed.no_credential:
        fields["credential"] = None
    return fields


def _credential(name: str, *, from_stdin: bool) -> str | dict[str, Any]:
    if from_stdin:
        text = sys.stdin.read().strip()
    elif sys.stdin.isatty():
        text = str(
            typer.prompt(f"Credential of '{name}' (a key, or OAuth tokens as JSON)", hide_input=True, err=True)
        ).strip()
    else:
        raise Stop("there is no terminal to ask for the credential: use '--credential-stdin' or '--no-credential'")
    if not text.startswith("{"):
        return text
    try:
        return cast("dict[str, Any]", json.loads(text))
    except ValueError as error:
        raise Stop(f"the OAuth tokens are not JSON: {error}") from None


def _row(item: Upstream) -> tuple[str, ...]:
    spaces = "every" if item.spaces is None else ", ".join(item.spaces) or "none"
    name = f"{item.name} (default)" if item.default else item.name
    return (
        name,
        item.provider,
        item.base_url,
        ", ".join(item.models) or "all",
        spaces,
        _called_with(item),
        item.source,
    )


def _called_with(item: Upstream) -> str:
    if item.credential != "oauth":
        return item.credential or "none"
    return f"oauth, until {moment(item.expires_at)}" if item.expires_at else "oauth"


def _print(item: Upstream, *, as_json: bool) -> None:
    if as_json:
        print_json(item)
        return
    print_rows(("NAME", "PROVIDER", "ADDRESS", "MODELS", "SPACES", "CREDENTIAL", "SOURCE"), [_row(item)])
