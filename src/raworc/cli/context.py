"""``raworc agents context``."""

from dataclasses import dataclass
from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import AgentName, Json
from raworc.cli.output import moment, print_fields, print_json
from raworc.cli.stop import Stop
from raworc.client import Raworc
from raworc.client.shapes import ContextUsage


@dataclass(frozen=True)
class ContextOptions:
    """What to do with it; nothing: only look."""

    clear: Annotated[bool, typer.Option("--clear", help="Forget what was said until now.")] = False
    compact: Annotated[bool, typer.Option("--compact", help="Go on with a summary of it.")] = False
    restore: Annotated[bool, typer.Option("--restore", help="Take the newest of these back.")] = False


def context(name: AgentName, options: ContextOptions, *, as_json: Json = False) -> None:
    """Show how full an agent's context is; clear it, compact it, or bring back what was cut off."""
    if options.clear + options.compact + options.restore > 1:
        raise Stop("give one of --clear, --compact and --restore")
    with connected() as client:
        usage = _changed(client, name, options)
    if as_json:
        print_json(usage)
        return
    print_fields(
        [
            ("agent", usage.agent),
            ("used", f"{usage.used_tokens_estimated} of {usage.soft_limit_tokens} tokens ({usage.used_percent:g} %)"),
            ("messages", str(usage.total_messages_considered)),
            ("cutoff", moment(usage.cutoff_at)),
        ]
    )


def _changed(client: Raworc, name: str, options: ContextOptions) -> ContextUsage:
    if options.clear:
        return client.context.clear(name)
    if options.compact:
        return client.context.compact(name)
    return client.context.restore(name) if options.restore else client.context.usage(name)
