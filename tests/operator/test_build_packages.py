"""Builds that fetch: repositories over http, packages of Python and Node, from a server of the test's own."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from building import BRIEF, NODE, PYTHON, RULES, SPACE, Yard
from packages import Shelf, shelf
from raworc.domain.egress import Reach, reach_of
from raworc.operator.building import BuildRules
from raworc.services.builds import Builds
from raworc.services.code_agents import CodeAgent

pytestmark = pytest.mark.anyio


@pytest.fixture
def served(yard: Yard) -> Iterator[Shelf]:
    yard.repos.mkdir()
    with shelf(yard.repos) as made:
        yield made


def rules(served: Shelf, **changes: object) -> BuildRules:
    """As where an administrator has named the server for everything."""
    env = {"PIP_INDEX_URL": f"{served.url}/simple/", "NPM_CONFIG_REGISTRY": f"{served.url}/npm/"}
    reach = reach_of("", [served.url])
    return replace(RULES, git_base=f"{served.url}/git", reach=reach, env=env, **changes)


async def test_a_repository_over_http_with_packages_of_python(yard: Yard, served: Shelf):
    served.add_wheel("greeting", "HELLO = 'hello'\n")
    served.add_wheel("other", "")
    yard.repo({**PYTHON, "requirements.txt": "greeting==1.0\n"}, "owner/agent.git")
    project = '[project]\nname = "agent"\nversion = "1"\ndependencies = ["other"]\n'
    setup = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    yard.repo({**PYTHON, "pyproject.toml": project + setup, "backend.py": BACKEND}, "owner/project.git")
    for name in ("agent", "project"):
        await yard.agents.create(yard.admin, SPACE, CodeAgent(name, source_repo=f"owner/{name}.git"))
    async with yard.builder(rules(served)):
        build = await yard.settled()
    assert build.status == "completed", build.log
    agent, project = await yard.built()
    deps = yard.folder / agent.digest / ".deps"
    assert (deps / "greeting.py").read_text() == "HELLO = 'hello'\n"
    assert list((deps / "__pycache__").glob("greeting.*.pyc"))
    assert (yard.folder / project.digest / ".deps" / "other.py").exists()


BACKEND = """
import zipfile
def build_wheel(folder, *_):
    name = "agent-1-py3-none-any.whl"
    about = "Metadata-Version: 2.1\\nName: agent\\nVersion: 1\\nRequires-Dist: other\\n"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as made:
        made.writestr("agent-1.dist-info/METADATA", about)
        made.writestr("agent-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        made.writestr("agent-1.dist-info/RECORD", "")
    return name
"""


async def test_packages_of_node(yard: Yard, served: Shelf):
    served.add_package("greeting", "module.exports = 'hello'\n")
    package = json.dumps({"name": "agent", "dependencies": {"greeting": "1.0.0"}})
    yard.repo({**NODE, "package.json": package}, "owner/agent.git")
    await yard.agents.create(yard.admin, SPACE, CodeAgent("agent", source_repo="owner/agent.git"))
    async with yard.builder(rules(served)):
        build = await yard.settled()
    assert build.status == "completed", build.log
    (one,) = await yard.built()
    assert (yard.folder / one.digest / "node_modules/greeting/index.js").read_text() == "module.exports = 'hello'\n"


async def test_a_git_server_that_hangs_or_is_not_there_is_a_reason(yard: Yard, served: Shelf):
    served.hangs = True
    await yard.agents.create(yard.admin, SPACE, CodeAgent("agent", source_repo="owner/agent.git"))
    async with yard.builder(replace(rules(served), clone_timeout_s=1.5)):
        build = await yard.settled()
        assert "'clone' did not end within 2 s" in build.log
    assert served.asked

    nowhere = replace(BRIEF, git_base="http://127.0.0.1:1", reach=reach_of("127.0.0.1:1"))
    await Builds(yard.db).start(yard.admin, SPACE)
    async with yard.builder(nowhere):
        build = await yard.settled()
    assert build.status == "failed"
    assert "'clone' ended with status 128" in build.log


async def test_a_build_reaches_nothing_private_that_nobody_named(yard: Yard, served: Shelf):
    """The host of an agent's own repository counts as a stranger's word: public addresses only."""
    fetch = f"python3 -c \"import urllib.request as r; r.urlopen('{served.url}/canary')\" 2>&1; env; exit 1"
    await yard.add(yard.repo({**PYTHON, "raworc.json": json.dumps({"build_command": fetch})}))
    await yard.agents.create(yard.admin, SPACE, CodeAgent("sly", source_repo="https://localhost/a/b"))
    async with yard.builder(replace(RULES, reach=Reach())):
        build = await yard.settled()
    assert served.asked == []
    assert "403" in build.log
    assert "Not reached: 127.0.0.1" in build.log
    assert "Not reached: localhost:443: its address is private" in build.log
    told = [line for line in build.log.splitlines() if "KEY" in line or "TOKEN" in line or "RAWORC" in line]
    assert [line for line in told if not line.startswith("Not reached")] == []
