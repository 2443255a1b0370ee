"""``raworc claude``, ``codex`` and ``env``: other people's programs, with their model calls through this server."""

import os
import shlex
import shutil
from dataclasses import dataclass
from typing import Annotated, Final, NoReturn

import typer

from raworc.cli.connection import Access, access, connected
from raworc.cli.options import spread
from raworc.cli.output import print_json
from raworc.cli.program_keys import Purpose, key_for
from raworc.cli.program_trust import trust
from raworc.cli.stop import Stop
from raworc.settings import program_environ, read_client_settings

NOT_FOUND: Final = 127
"""As shells say it of a command that is not there."""

_CLAUDE: Final = "npm install -g @anthropic-ai/claude-code"
_CODEX: Final = "npm install -g @openai/codex"
_CODEX_KEY: Final = "RAWORC_CODEX_KEY"
_ELSEWHERE: Final = (
    "ANTHROPIC_API_KEY",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
)
"""What would send Claude Code's calls past us, or with another credential."""

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ARGUMENTS", help="The program's own; options of this command stand before them.", show_default=False
    ),
]
Shell = Annotated[str, typer.Option(help="For whom to print: bash (and zsh, sh), fish or json.")]


@dataclass(frozen=True)
class Booked:
    """What the program's calls are booked under."""

    space: Annotated[str, typer.Option(help="The space of its calls.")] = "default"
    train: Annotated[str | None, typer.Option(help="The train of its calls. [default: 'default']")] = None


@dataclass(frozen=True)
class Way:
    """How a program gets to the server. ``trust``: variables that name its authority, where it needs one."""

    url: str
    key: str
    trust: dict[str, str]

    def anthropic(self) -> dict[str, str]:
        """For what speaks Anthropic's wire."""
        return {"ANTHROPIC_BASE_URL": self.url, "ANTHROPIC_AUTH_TOKEN": self.key}

    def openai(self) -> dict[str, str]:
        """For what speaks OpenAI's wires."""
        return {"OPENAI_BASE_URL": f"{self.url}/v1", "OPENAI_API_KEY": self.key}


@dataclass(frozen=True)
class BookedClaude(Booked):
    """The same, and with whose credential they are made."""

    own_login: Annotated[
        bool,
        typer.Option(
            "--own-login", help="Make them with Claude Code's own login, which a server on this machine passes on."
        ),
    ] = False


@spread
def claude(arguments: Arguments = None, *, booked: BookedClaude) -> None:
    """Run Claude Code; its calls are recorded under a key of its own, which is kept for the next time."""
    path = _installed("claude", _CLAUDE, "ANTHROPIC_BASE_URL and ANTHROPIC_AUTH_TOKEN")
    environ = {"CLAUDE_CODE_GATEWAY_HINT_HEADERS": "1", **program_environ()}
    if booked.own_login:
        known = access()
        environ |= {"ANTHROPIC_BASE_URL": known.url} | _headers(environ, booked.train) | _trust(known)
    else:
        way = _way("claude", booked)
        environ = {name: value for name, value in environ.items() if name not in _ELSEWHERE}
        environ |= way.anthropic() | way.trust
    _become(path, ["claude", *(arguments or ())], environ)


@spread
def codex(arguments: Arguments = None, *, booked: Booked) -> None:
    """Run Codex; its calls are recorded under a key of its own, which is kept for the next time."""
    path = _installed("codex", _CODEX, "OPENAI_BASE_URL and OPENAI_API_KEY")
    way = _way("codex", booked)
    provider = {"name": "Raworc", "base_url": f"{way.url}/v1", "env_key": _CODEX_KEY, "wire_api": "responses"}
    settings = [
        ("model_provider", "raworc"),
        *((f"model_providers.raworc.{key}", value) for key, value in provider.items()),
    ]
    overrides = [part for key, value in settings for part in ("-c", f'{key}="{value}"')]
    _become(path, ["codex", *overrides, *(arguments or ())], {**program_environ(), _CODEX_KEY: way.key, **way.trust})


@spread
def env(booked: Booked, *, shell: Shell = "bash") -> None:
    """Print the variables with which Anthropic's and OpenAI's clients call this server: eval "$(raworc env)".

    They hold a key that is good for model calls only. 'raworc keys' lists and revokes it.
    """
    if shell not in {"bash", "zsh", "sh", "fish", "json"}:
        raise Stop(f"there is no shell '{shell}': take bash, fish or json")
    way = _way("env", booked)
    values = way.anthropic() | way.openai() | way.trust
    if shell == "json":
        print_json(values)
        return
    for name, value in values.items():
        typer.echo(f"set -gx {name} {shlex.quote(value)}" if shell == "fish" else f"export {name}={shlex.quote(value)}")
    typer.echo("set -e ANTHROPIC_API_KEY" if shell == "fish" else "unset ANTHROPIC_API_KEY")


def _headers(environ: dict[str, str], train: str | None) -> dict[str, str]:
    """Its own login says nothing of trains: a header does, beside those that the person set."""
    lines = [environ.get("ANTHROPIC_CUSTOM_HEADERS", ""), f"MSL-Train-Id: {train}" if train else ""]
    return {"ANTHROPIC_CUSTOM_HEADERS": "\n".join(filter(None, lines))}


def _way(program: str, booked: Booked) -> Way:
    known = access()
    with connected() as client:
        purpose = Purpose(known.url, program, booked.space, booked.train)
        key = key_for(client, purpose, read_client_settings().program_keys)
    return Way(known.url, key, _trust(known))


def _trust(known: Access) -> dict[str, str]:
    return trust(known.ca_file, program_environ(), read_client_settings().credentials.parent)


def _installed(program: str, install: str, variables: str) -> str:
    path = shutil.which(program, path=program_environ().get("PATH"))
    if path is None:
        raise Stop(
            f"there is no '{program}' on the PATH: install it with '{install}'.\n"
            f"Wherever else it runs, give it {variables} as 'raworc env' prints them",
            code=NOT_FOUND,
        )
    return path


def _become(path: str, arguments: list[str], environ: dict[str, str]) -> NoReturn:
    """From here on this process is the program: its exit code and its signals are its own."""
    try:
        os.execve(path, arguments, environ)  # noqa: S606  the program that was asked for
    except OSError as error:
        raise Stop(f"cannot run '{path}': {error.strerror}", code=126) from error
