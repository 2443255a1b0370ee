"""Runs every probe inside the sandbox and prints one JSON line each: ``{"name", "escape": null or text}``."""

import contextlib
import io
import json
import sys

sys.path.insert(0, "/agent/.attack")
from raworc.sandbox.attack.inside import network, reach, surface
from raworc.sandbox.attack.inside.verdict import Escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from raworc.sandbox.attack.inside.verdict import Probe


def attempt(probe: "Probe", context: "dict[str, Any]") -> "dict[str, str | None]":
    """One probe's verdict. A probe that breaks proves nothing, so it counts as an escape."""
    name, action = probe
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            action(context)
    except Escape as escape:
        return {"name": name, "escape": str(escape)}
    except (OSError, ValueError, KeyError, LookupError, StopIteration) as error:
        return {"name": name, "escape": f"the probe broke: {type(error).__name__}: {error}"}
    return {"name": name, "escape": None}


def main() -> None:
    """Read the context, run all."""
    with open("/agent/.attack/context.json", encoding="utf-8") as file:
        context = json.load(file)
    for module in (surface, reach, network):
        for probe in module.probes(context):
            print(json.dumps(attempt(probe, context)), flush=True)  # noqa: T201  read by whoever started us


if __name__ == "__main__":
    main()
