"""``raworc api``: any request of the documents, by hand."""

import http
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx2
import msgspec
import typer
from rich.highlighter import JSONHighlighter

from raworc.cli.connection import access, refusals_explained
from raworc.cli.output import console, print_bytes, printable
from raworc.cli.stop import Stop
from raworc.client.transport import full_path
from raworc.settings import read_client_settings

Words = Annotated[
    list[str],
    typer.Argument(
        metavar="[METHOD] PATH [JSON]",
        help="PATH is below /api/v0, or one from the root. JSON may be '-' (standard input) or '@FILE'.",
        show_default=False,
    ),
]
Headers = Annotated[list[str] | None, typer.Option("--header", "-H", help="'NAME: VALUE'; may be repeated.")]
Include = Annotated[bool, typer.Option("--include", "-i", help="Print status and headers, too.")]

Contract = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Whose paths: agents, spaces, organizations. [default: what RAWORC_API says, or agents]",
    ),
]

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
CONTRACTS = ("agents", "spaces", "organizations")
_JSON = "application/json"
_EVENTS = "text/event-stream"


@dataclass(frozen=True)
class Call:
    """One request: ``content`` and its type, or neither."""

    method: str
    path: str
    content: bytes | None = None
    content_type: str | None = None


def api(words: Words, *, header: Headers = None, include: Include = False, contract: Contract = None) -> None:
    """Make a request of the documented API: GET, or POST with JSON, unless METHOD says otherwise.

    Exits with 0 when it succeeds, with 3, 4 or 5 for a status of 3xx, 4xx or 5xx, with 1 without an answer.
    """
    call, whose = read_call(words), _contract(contract)
    headers = dict(_header(line) for line in header or ())
    if call.content_type:
        headers.setdefault("content-type", call.content_type)
    headers.setdefault("raworc-contract", whose)  # for a path from the root; a prefix in it says more
    with (
        refusals_explained(),
        access().client() as client,
        client.raw(call.method, full_path(call.path, whose), content=call.content, headers=headers) as answer,
    ):
        if include:
            _print_head(answer)
        _print_body(answer)
    _judge(answer.status_code)


def _contract(wanted: str | None) -> str:
    if wanted is None:
        return read_client_settings().contract
    if wanted not in CONTRACTS:
        raise Stop(f"there is no contract '{printable(wanted)}': it is one of {', '.join(CONTRACTS)}")
    return wanted


def read_call(words: list[str]) -> Call:
    """``[METHOD] PATH [JSON]``. Raises Stop for anything else."""
    method = words[0].upper() if len(words) > 1 and words[0].upper() in METHODS else None
    if method is None and len(words) > 1 and words[0].isalpha() and words[0].isupper():
        raise Stop(f"there is no method '{words[0]}': it is one of {', '.join(METHODS)}")
    path, *rest = words[1:] if method else words
    if len(rest) > 1:
        raise Stop(
            f"do not know what '{rest[1]}' is for: quote the JSON, as in raworc api agents '{{\"name\": \"demo\"}}'"
        )
    if not rest:
        return Call(method or "GET", path)
    content, content_type = _content(rest[0])
    return Call(method or "POST", path, content, content_type)


def _content(text: str) -> tuple[bytes, str]:
    if text == "-":
        content = sys.stdin.buffer.read()
    elif text.startswith("@"):
        content = _file(Path(text[1:]))
    else:
        content = text.encode(errors="surrogateescape")
        problem = _json_problem(content)
        if problem:
            raise Stop(f"the body is not JSON ({problem}): put names and texts in double quotes, or send a '@FILE'")
        return content, _JSON
    return content, "application/octet-stream" if _json_problem(content) else _JSON


def _file(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except (OSError, RuntimeError) as error:
        raise Stop(f"cannot read '{path}': {getattr(error, 'strerror', None) or error}") from error


def _json_problem(content: bytes) -> str | None:
    try:
        msgspec.json.decode(content, type=msgspec.Raw)
        msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return str(error)
    return None


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip() or not line.isascii() or not line.isprintable():
        raise Stop(f"'{printable(line)}' is not a header: write 'NAME: VALUE'")
    return name.strip().lower(), value.strip()


def _print_head(answer: httpx2.Response) -> None:
    typer.echo(f"{answer.http_version} {answer.status_code} {answer.reason_phrase}")
    for name, value in answer.headers.multi_items():
        typer.echo(printable(f"{name}: {value}"))
    typer.echo()


def _print_body(answer: httpx2.Response) -> None:
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if kind == _EVENTS:
        for line in answer.iter_lines():
            typer.echo(printable(line))
            sys.stdout.flush()
        return
    content = answer.read()
    if kind.endswith("json"):
        _print_readably(content)
    elif content:
        print_bytes(content)


def _print_readably(content: bytes) -> None:
    try:
        text = msgspec.json.format(content, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        print_bytes(content)
        return
    if sys.stdout.isatty():
        console().print(JSONHighlighter()(printable(text)))
    else:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _judge(status: int) -> None:
    if status < http.HTTPStatus.MULTIPLE_CHOICES:
        return
    phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else ""
    hint = ": run 'raworc login'" if status == http.HTTPStatus.UNAUTHORIZED else ""
    raise Stop(f"{status} {phrase}".rstrip() + hint, code=status // 100)
