"""``raworc gateway``: what a gateway for model calls has to do, checked against any of them."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from raworc.cli.options import Json, spread
from raworc.cli.output import console, print_json, printable
from raworc.cli.stop import FAILED, Stop
from raworc.conformance import (
    CHECKS,
    DEADLINE_S,
    WIRES,
    Address,
    BadAddress,
    Check,
    Result,
    Standin,
    Subject,
    Wire,
    examine,
    stranger_at,
    wire_named,
)

app = typer.Typer(no_args_is_help=True)

_POLL_S: Final = 0.5
_NAMES: Final = ", ".join(f"'{wire.name}'" for wire in WIRES)
Url = Annotated[str, typer.Argument(metavar="URL", help="The gateway's address.", show_default=False)]


@app.callback()
def gateway() -> None:
    """Check gateways for model calls."""


@dataclass(frozen=True)
class Examined:
    """What is checked, and how to get at it."""

    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the stand-in waits that the gateway takes for its provider.")
    ] = "127.0.0.1:9555"
    key: Annotated[
        str, typer.Option(help="What the gateway asks of its clients; '-' reads it from standard input.")
    ] = "conformance"
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="'NAME: VALUE'", help="What it wants besides; may be repeated."),
    ] = None
    wire: Annotated[list[str] | None, typer.Option(help=f"Of {_NAMES}; may be repeated. Else all.")] = None
    model: Annotated[str, typer.Option(help="A model that the gateway sends to the stand-in.")] = "conformance"
    provider_key: Annotated[
        str | None, typer.Option(help="What the gateway should say to its provider. [default: anything]")
    ] = None
    only: Annotated[list[str] | None, typer.Option(help="A check, or a part of its name; may be repeated.")] = None
    skip: Annotated[list[str] | None, typer.Option(help="The same, to be left out.")] = None
    own: Annotated[bool, typer.Option("--own", help="Check what only Raworc's own gateway has to do, too.")] = False
    limit_mib: Annotated[int, typer.Option(help="The largest request that the gateway takes.", min=1)] = 32
    wait_s: Annotated[float, typer.Option(help="How long to wait for the gateway's first call.", min=0)] = 0.0
    ca_file: Annotated[Path | None, typer.Option(help="Trust this CA (PEM).")] = None
    as_json: Json = False


@app.command()
@spread
def conformance(url: Url, examined: Examined) -> None:
    """Check a gateway whose provider is our stand-in, byte by byte, and fail when something does not hold.

    The stand-in plays the provider for as long as the checks take. The gateway is any program that passes on model
    calls; it has to have the stand-in's address as its provider's.
    """
    wires, chosen, subject = _wires(examined.wire), _chosen(examined), _subject(url, examined)
    found: list[Result] = []
    told = console(to_stderr=examined.as_json)
    asyncio.run(_run(subject, wires, chosen, examined, keep=_printing(found, None if examined.as_json else told)))
    failed = [result for result in found if result.outcome != "ok"]
    if examined.as_json:
        checks = [asdict(result) for result in found]
        print_json({"url": url, "passed": len(found) - len(failed), "failed": len(failed), "checks": checks})
    if failed:
        raise Stop(f"{len(failed)} of {len(found)} checks do not hold", code=FAILED)
    if not examined.as_json:
        typer.echo(f"All {len(found)} checks hold.")


async def _run(
    subject: Subject,
    wires: list[Wire],
    chosen: Callable[[Check], bool],
    examined: Examined,
    *,
    keep: Callable[[Result], None],
) -> None:
    host, _, port = examined.listen.rpartition(":")
    standin = Standin()
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(standin.listening(host.strip("[]"), int(port)))
        except (OSError, ValueError) as error:
            raise Stop(f"cannot listen on '{examined.listen}' ('--listen HOST:PORT'): {error}") from error
        await _wait_reached(subject, wires, standin, examined)
        async for result in examine(subject, wires, standin, chosen):
            keep(result)


async def _wait_reached(subject: Subject, wires: list[Wire], standin: Standin, examined: Examined) -> None:
    """Return once a call on one of the wires arrives; a gateway that serves none of them cannot be checked."""
    ends = time.monotonic() + examined.wait_s
    while True:
        answered: list[str] = []
        for wire in wires:
            try:
                stranger = await stranger_at(subject, wire, standin)
            except (OSError, TimeoutError) as error:
                stranger = str(error) or f"nothing within {DEADLINE_S:g} s"
            if stranger is None:
                return
            answered.append(f"  {wire.path}: {printable(stranger)}")
        if time.monotonic() >= ends:
            raise Stop(_HOW.format(listen=examined.listen, answered="\n".join(answered)))
        await asyncio.sleep(_POLL_S)


_HOW: Final = """\
no call through the gateway reached the stand-in at http://{listen}. What came instead:
{answered}
Point the gateway's provider at it and start it again, and give '--key' what it asks of its clients. For Raworc:
  ANTHROPIC_BASE_URL=http://{listen} ANTHROPIC_API_KEY=stand-in \\
  OPENAI_BASE_URL=http://{listen}/v1 OPENAI_API_KEY=stand-in raworc up"""


def _subject(url: str, examined: Examined) -> Subject:
    key = sys.stdin.readline().strip() if examined.key == "-" else examined.key
    try:
        address = Address.parse(url, str(examined.ca_file) if examined.ca_file else None)
    except BadAddress as error:
        raise Stop(str(error)) from None
    return Subject(
        address,
        key,
        model=examined.model,
        limit_bytes=examined.limit_mib * 1024 * 1024,
        credential=examined.provider_key,
        headers=tuple(_header(line) for line in examined.header or ()),
    )


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise Stop(f"'{line}' is no header: take 'NAME: VALUE'")
    return name.strip(), value.strip()


def _wires(names: list[str] | None) -> list[Wire]:
    if not names:
        return list(WIRES)
    wires: list[Wire] = []
    for name in names:
        wire = wire_named(name)
        if wire is None:
            raise Stop(f"there is no wire '{name}': take {_NAMES}")
        wires.append(wire)
    return wires


def _chosen(examined: Examined) -> Callable[[Check], bool]:
    for part in (*(examined.only or ()), *(examined.skip or ())):
        if not any(part in check.name for check in CHECKS):
            raise Stop(f"no check has '{part}' in its name")

    def chosen(check: Check) -> bool:
        wanted = not examined.only or any(part in check.name for part in examined.only)
        left_out = any(part in check.name for part in examined.skip or ())
        return wanted and not left_out and (examined.own or not check.own)

    return chosen


def _printing(found: list[Result], told: Console | None) -> Callable[[Result], None]:
    def keep(result: Result) -> None:
        found.append(result)
        if told is not None:
            _print(told, result)

    return keep


def _print(told: Console, result: Result) -> None:
    word, colour = {"ok": ("ok", "green"), "failed": ("FAIL", "red"), "not run": ("--", "yellow")}[result.outcome]
    own = " (Raworc's own)" if result.own else ""
    told.print(Text(f"{word:5}", style=colour) + Text(f"{result.wire:10}{result.name}{own}"))
    if result.outcome == "failed":
        told.print(Text(f"{'':15}expected  {printable(result.expected or '')}"))
        told.print(Text(f"{'':15}came      {printable(result.came or '')}"))
