"""Code agents made from repositories in real sandboxes."""

import json
import os

import pytest

from building import NODE, PYTHON, SPACE, Yard, git
from raworc.ids import WorkerId, new_id
from raworc.services.build_work import BuildWork
from raworc.services.builds import Builds
from raworc.services.code_agents import CodeAgent
from waiting import until

pytestmark = pytest.mark.anyio


async def test_a_python_agent_is_built_and_nobody_can_change_it(yard: Yard):
    folder = yard.repo({**PYTHON, "tool.sh": "#!/bin/sh\n", "data/a.txt": "a"})
    (folder / "tool.sh").chmod(0o755)
    yard.commit(folder, {})
    build = await yard.built_once(folder)
    assert build.status == "completed", build.log
    (one,) = await yard.built()
    assert (one.runtime, one.handler) == ("python3", "main.process_message")
    result = yard.folder / one.digest
    modes = {path.relative_to(result).as_posix(): path.stat().st_mode & 0o777 for path in result.rglob("*")}
    assert {key: modes[key] for key in ("main.py", "tool.sh", "data", "data/a.txt")} == {
        "main.py": 0o444,
        "tool.sh": 0o555,
        "data": 0o755,
        "data/a.txt": 0o444,
    }
    assert [path for path in modes if path.endswith(".pyc")]
    assert ".git" not in modes
    assert {path.stat().st_uid for path in result.rglob("*")} == {os.geteuid()}


async def test_the_same_content_has_the_same_name_and_another_one_another(yard: Yard):
    first, second = yard.repo(PYTHON, "one"), yard.repo(PYTHON, "two")
    await yard.add(first, "one")
    await yard.add(second, "two")
    async with yard.builder():
        assert (await yard.settled()).status == "completed"
        one, two = await yard.built()
        assert one.digest == two.digest
        yard.commit(second, {"main.py": PYTHON["main.py"] + "# changed\n"})
        await Builds(yard.db).start(yard.admin, SPACE)
        assert (await yard.settled()).status == "completed"
    one, changed = await yard.built()
    assert (one.digest == two.digest, changed.digest == two.digest) == (True, False)


async def test_what_the_manifest_says_counts_and_the_rest_is_found_out(yard: Yard):
    manifest = {
        "handler": "pkg.bot.answer",
        "purpose": "p",
        "description": "d",
        "build_command": "echo made > made.txt",
    }
    files = {
        "raworc.json": json.dumps(manifest),
        "pkg/__init__.py": "",
        "pkg/bot.py": "def answer(m, c): ...",
        **PYTHON,
    }
    build = await yard.built_once(yard.repo(files))
    assert build.status == "completed", build.log
    (one,) = await yard.built()
    assert (one.runtime, one.handler, one.purpose, one.description) == ("python3", "pkg.bot.answer", "p", "d")
    assert (yard.folder / one.digest / "made.txt").read_text() == "made\n"
    assert "build_command" in build.log


async def test_an_agent_of_node_is_built_from_a_tag(yard: Yard):
    folder = yard.repo(NODE)
    git(folder, "tag", "v1")
    yard.commit(folder, {"index.js": "broken"})
    await yard.add(folder, source_branch="v1")
    async with yard.builder():
        build = await yard.settled()
    assert build.status == "completed", build.log
    (one,) = await yard.built()
    assert (one.runtime, one.handler) == ("node", "index.processMessage")
    assert (yard.folder / one.digest / "index.js").read_text() == NODE["index.js"]


async def test_one_bad_agent_fails_the_build_and_hurts_nothing_that_was_built(yard: Yard):
    good = yard.repo(PYTHON, "good")
    await yard.add(good, "good")
    async with yard.builder():
        before = await yard.settled()
        assert before.status == "completed"
        await yard.add(yard.repo({"README": "nothing"}, "bad"), "bad")
        build = await yard.settled()
        assert build.status == "failed"
        assert "neither 'raworc.json' nor 'main.py' nor 'index.js'" in build.log
        assert "1 of 2 agents could not be built (bad)" in build.log
        assert [one.name for one in await yard.built()] == ["good"]
        await yard.agents.switch(yard.admin, SPACE, "bad", "inactive")
        await Builds(yard.db).start(yard.admin, SPACE)
        assert (await yard.settled()).status == "completed"


async def test_a_space_without_agents_is_built_at_once(yard: Yard):
    await Builds(yard.db).start(yard.admin, SPACE)
    async with yard.builder():
        build = await yard.settled()
    assert (build.status, "no active agent" in build.log) == ("completed", True)


BAD_MANIFESTS = {
    "{": "'raworc.json' is no JSON",
    "[" * 100_000: "'raworc.json' is no JSON",
    "[]": "must be a JSON object",
    '{"runtime": "rust"}': "must be 'python3' or 'node', not 'rust'",
    '{"handler": "../../evil"}': "must be 'module.function'",
    '{"handler": "nothing.there"}': "There is no 'nothing.py'",
    '{"build_command": ["rm"]}': "'build_command' in 'raworc.json' must be text",
}


async def test_every_bad_manifest_has_its_reason(yard: Yard):
    for number, manifest in enumerate(BAD_MANIFESTS):
        await yard.add(yard.repo({**PYTHON, "raworc.json": manifest}, f"r{number}"), f"r{number}")
    async with yard.builder():
        build = await yard.settled()
    assert build.status == "failed"
    for reason in BAD_MANIFESTS.values():
        assert reason in build.log


async def test_what_is_no_repository_has_its_reason(yard: Yard):
    (yard.repos / "plain").mkdir(parents=True)
    empty = yard.repos / "empty"
    empty.mkdir()
    git(empty, "init", "--quiet")
    for name in ("plain", "empty", "absent"):
        await yard.add(yard.repos / name, name)
    await yard.agents.create(yard.admin, SPACE, CodeAgent("key", source_repo="git@example.org:a/b.git"))
    await yard.add(yard.repo(PYTHON), "branch", source_branch="nosuch")
    async with yard.builder():
        build = await yard.settled()
    assert build.log.count("is no git repository on this machine") == 2
    assert "The repository is empty" in build.log
    assert "takes a key, which builds do not have" in build.log
    assert "Remote branch nosuch not found" in build.log


async def test_a_build_that_is_cut_short_is_begun_anew(yard: Yard):
    folder = yard.repo({**PYTHON, "raworc.json": '{"build_command": "test -e /agent/code/go || sleep 100"}'})
    await yard.add(folder)
    async with yard.builder():

        async def is_at_it() -> bool:
            return "Running: build_command" in (await yard.latest()).log

        await until(is_at_it, limit_s=30)
        yard.commit(folder, {"go": ""})
    assert (await yard.latest()).status == "building"
    async with yard.builder():
        build = await yard.settled()
    assert build.status == "completed", build.log


async def test_a_build_that_operators_die_with_is_given_up(yard: Yard):
    await yard.add(yard.repo(PYTHON))
    for _ in range(3):
        await BuildWork(yard.db, WorkerId(new_id()), "here", lambda _: True).claim((), 1)
    async with yard.builder():
        build = await yard.settled()
    assert (build.status, "Given up: it was begun 3 times" in build.log) == ("failed", True)


async def test_a_build_that_breaks_its_operator_is_tried_again_and_given_up(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
):
    async def broken(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("raworc.operator.building.Building.run", broken)
    monkeypatch.setattr("raworc.operator.builds.POLL_S", 0.05)
    await yard.add(yard.repo(PYTHON))
    async with yard.builder():
        build = await yard.settled()
    assert (build.status, "Given up" in build.log) == ("failed", True)


async def test_what_nobody_needs_is_swept_and_what_is_lost_is_built_again(yard: Yard):
    folder = yard.repo(PYTHON)
    await yard.add(folder)
    async with yard.builder():
        await yard.settled()
    (former,) = await yard.built()
    used = yard.workbench.results.use(former.digest)
    assert used is not None
    yard.commit(folder, {"new.txt": "new"})
    await Builds(yard.db).start(yard.admin, SPACE)
    (yard.folder / "work" / str(new_id())).mkdir()
    async with yard.builder() as builder:
        await yard.settled()
        (newer,) = await yard.built()
        await builder._sweep()
        assert {path.name for path in yard.folder.iterdir()} == {former.digest, newer.digest, "work"}
        used.close()
        await builder._sweep()
        assert {path.name for path in yard.folder.iterdir()} == {newer.digest, "work"}
        assert list((yard.folder / "work").iterdir()) == []

        (yard.folder / newer.digest).rename(yard.settings.home / "lost")  # as after a restore
        await builder._sweep()
        assert (await yard.settled()).id != newer.build_id
        assert (yard.folder / newer.digest / "new.txt").exists()
