"""Repositories that want to do harm: each ends with a reason, or as if the trick were not there."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from building import BRIEF, PYTHON, RULES, Yard, git
from raworc.sandbox.driver import Limits

pytestmark = pytest.mark.anyio


HOOK = "#!/bin/sh\ntouch /agent/code/hooked; echo HOOKED\n"
"""What must never run."""


@pytest.mark.parametrize("trick", ["hooks", "filters", "config"])
async def test_nothing_of_the_repository_runs_while_it_is_cloned(yard: Yard, trick: str):
    folder = yard.repo({**PYTHON, "hooks/post-checkout": HOOK})
    (folder / "hooks/post-checkout").chmod(0o755)
    if trick == "hooks":
        (folder / ".git/hooks/post-checkout").write_text(HOOK)
        (folder / ".git/hooks/post-checkout").chmod(0o755)
    elif trick == "filters":
        yard.commit(
            folder, {".gitattributes": "* filter=evil\n", ".gitconfig": '[filter "evil"]\nsmudge = touch hooked'}
        )
        git(folder, "config", "filter.evil.smudge", "touch /agent/code/hooked")
    else:
        git(folder, "config", "core.hooksPath", "hooks")
        git(folder, "config", "core.fsmonitor", "touch /agent/code/hooked")
        git(folder, "config", "uploadpack.packObjectsHook", "touch /agent/code/hooked")
    build = await yard.built_once(folder)
    assert build.status == "completed", build.log
    (one,) = await yard.built()
    assert not (yard.folder / one.digest / "hooked").exists()
    assert "HOOKED" not in build.log


async def test_submodules_are_left_alone_whatever_they_are_called(yard: Yard):
    other, folder = yard.repo({"secret.txt": "s"}, "other"), yard.repo(PYTHON)
    git(folder, "submodule", "--quiet", "add", f"file://{other}", "sub")
    modules = (folder / ".gitmodules").read_text()
    modules += '[submodule "x"]\npath = ../../x\nurl = ext::sh -c "touch /agent/code/hooked"\nupdate = !touch hooked\n'
    yard.commit(folder, {".gitmodules": modules})
    build = await yard.built_once(folder)
    assert build.status == "completed", build.log
    (one,) = await yard.built()
    assert list((yard.folder / one.digest / "sub").iterdir()) == []
    assert not (yard.folder / one.digest / "hooked").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../etc", "self/../etc", "."])
async def test_links_that_lead_out_are_refused_and_others_kept(yard: Yard, target: str):
    folder = yard.repo({**PYTHON, "etc/passwd": "mine"})
    (folder / "self").symlink_to(".")
    (folder / "link").symlink_to(target)
    yard.commit(folder, {})
    build = await yard.built_once(folder)
    if target == ".":
        assert build.status == "completed", build.log
        (one,) = await yard.built()
        assert (yard.folder / one.digest / "link").readlink() == Path()
    else:
        assert build.status == "failed"
        assert f"The link 'link' leads out of it to '{target}'" in build.log
        assert [path.name for path in yard.folder.iterdir()] == ["work"]


HUGE = {
    "repository": ({**PYTHON, "large.bin": "x"}, "files to be copied have more than"),
    "build": ({**PYTHON, "raworc.json": '{"build_command": "yes > large"}'}, "needs more than 64 MiB of disk"),
    "sparse": ({**PYTHON, "raworc.json": '{"build_command": "truncate -s 60G large; true"}'}, None),
    "memory": ({**PYTHON, "raworc.json": '{"build_command": "python3 -c \'b\\"x\\" * 4_000_000_000\'"}'}, "failed"),
}


@pytest.mark.parametrize("what", HUGE)
async def test_what_is_huge_ends_with_a_reason(yard: Yard, what: str):
    files, reason = HUGE[what]
    folder = yard.repo(files)
    if what == "repository":
        (folder / "large.bin").write_bytes(os.urandom(20_000_000))
        yard.commit(folder, {})
    limits = Limits(disk_mb=16 if what == "repository" else 64)
    build = await yard.built_once(folder, replace(RULES, limits=limits))
    if reason is not None:
        assert build.status == "failed", build.log
        assert reason in build.log
    used = sum(path.lstat().st_blocks * 512 for path in yard.folder.rglob("*"))
    assert used < 1_000_000


async def test_an_install_without_end_is_ended(yard: Yard):
    folder = yard.repo(
        {
            **PYTHON,
            "raworc.json": '{"build_command": "trap \'\' TERM; yes | head -c 900000; while :; do sleep 9; done"}',
        }
    )
    build = await yard.built_once(folder, BRIEF)
    assert build.status == "failed"
    assert "'build_command' did not end within" in build.log
    assert "characters left out" in build.log


async def test_a_fork_bomb_in_setup_harms_nobody(yard: Yard):
    bomb = "bomb() { bomb | bomb & }; bomb; (while :; do bomb; done) & while :; do :; done"
    await yard.add(yard.repo(PYTHON, "peaceful"), "peaceful")
    build = await yard.built_once(yard.repo({**PYTHON, "raworc.json": json.dumps({"build_command": bomb})}), BRIEF)
    assert build.status == "failed"
    assert "'build_command' did not end within" in build.log
    assert build.log.count("\nBuilt ") == 1  # the other one, after it
