"""An operator that is killed while it builds: what it was at is begun anew, and nothing of it is left."""

import json
from pathlib import Path

from building import PYTHON, repository
from faults import host
from stack import Stack
from waiting import until_sync

_SLOW = "test -e go || sleep 86311"


def test_the_next_operator_begins_the_build_anew(stack: Stack, tmp_path: Path) -> None:
    client = stack.client()
    folder = repository(tmp_path / "repo", {**PYTHON, "raworc.json": json.dumps({"build_command": _SLOW})})
    client.code_agents.create("default", "agent", f"file://{folder}")
    host.wait_running("sleep 86311")
    begun = client.builds.latest("default")
    assert begun.status == "building"
    stack.kill("operator")
    host.wait_gone("sleep 86311")
    repository(folder, {"go": ""})
    stack.start("operator")
    until_sync(lambda: client.builds.latest("default").is_settled, limit_s=60)
    build = client.builds.latest("default")
    assert (build.id, build.status) == (begun.id, "completed"), build.logs
    assert list((stack.settings.builds_dir / "work").iterdir()) == []
    assert not list(stack.settings.builds_dir.glob(".*"))
