"""How long a code agent takes to be built: from POST of the agent, without packages, to its build's end.

usage: .venv/bin/python bench/builds.py [--runs 20] [--json]

Starts ``raworc up`` on an empty home of its own. Each build has a space and a repository of its own, so nothing of a
former one helps it; the build is looked for every 2 ms.
"""

import argparse
import json
import shutil
import sys
from dataclasses import asdict

from handlers import NODE, PYTHON, built
from installation import Installation, installed
from turns import Figure, figure, machine, show, sync_ms

RUNTIMES = {"python": PYTHON, "node": NODE}


def measure(installation: Installation, runs: int) -> list[Figure]:
    """Every figure."""
    api = installation.api("spaces")
    figures = [figure("fdatasync of 8 KiB on this disk", [sync_ms() for _ in range(200)])]
    for runtime, files in RUNTIMES.items():
        if runtime == "node" and shutil.which("node") is None:
            continue
        took_ms: list[float] = []
        for run in range(runs):
            own = {**files, "number.txt": f"{run}\n"}
            took_ms.append(built(installation, api, f"{runtime}-{run}", own) * 1000)
        figures.append(figure(f"{runtime}: POST agent -> build completed", took_ms, must=2000))
    return figures


def main() -> int:
    """1 when a must is missed."""
    parser = argparse.ArgumentParser(description="Measure how long a code agent takes to be built.")
    parser.add_argument("--runs", type=int, default=20, help="builds of each runtime")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with installed() as installation:
        figures = measure(installation, options.runs)
    if options.json:
        rows = [{**asdict(one), "verdict": one.verdict} for one in figures]
        print(json.dumps({"machine": machine(), "figures": rows}, indent=2))
    else:
        print(machine())
        show(figures)
    return 1 if any(one.verdict == "miss" for one in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
