import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from raworc.sandbox import cgroups
from raworc.sandbox.cgroups import Group, Parents
from raworc.sandbox.driver import Limits

UNIFIED = Path("/sys/fs/cgroup/unified") if Path("/sys/fs/cgroup/unified").is_dir() else Path("/sys/fs/cgroup")


@pytest.fixture
def parents() -> Parents:
    found = cgroups.detect()
    if found is None:
        pytest.skip("no control groups that we may use here")
    return found


def test_a_group_has_its_limits_and_goes_without_trace(parents: Parents):
    group = parents.create(f"test-{os.getpid()}", Limits(memory_mb=100, cpus=0.5, pids=20))
    folders = [Path(folder) for folder in group.folders.values()]
    if parents.version == 1:
        assert int(Path(group.folders["memory"], "memory.limit_in_bytes").read_text()) == 100 * 1_048_576
        assert int(Path(group.folders["cpu"], "cpu.cfs_quota_us").read_text()) == 50_000
        assert int(Path(group.folders["pids"], "pids.max").read_text()) == 20 + cgroups.SPARE_PIDS
    assert all(folder.is_dir() for folder in folders)
    assert (cgroups.processes(group), cgroups.oom_kills(group)) == (set(), 0)
    assert cgroups.remove(group)
    assert not any(folder.exists() for folder in folders)
    assert cgroups.processes(group) == set()


def test_the_empty_and_old_are_swept_away(parents: Parents):
    around = parents.create(f"around-{os.getpid()}", Limits())  # so that nobody else's is swept
    parents = Parents(parents.version, around.folders, ())
    group = parents.create("x", Limits())
    sleeper = subprocess.Popen(["sleep", "60"])
    for path in group.process_files:
        Path(path).write_text(str(sleeper.pid))
    cgroups.sweep(parents, older_than_s=-60)
    assert cgroups.processes(group) == {sleeper.pid}, "one with processes stays"
    sleeper.kill()
    sleeper.wait()
    cgroups.sweep(parents, older_than_s=60)
    assert all(Path(folder).is_dir() for folder in group.folders.values()), "a young one stays"
    cgroups.sweep(parents, older_than_s=-60)
    assert not any(Path(folder).exists() for folder in group.folders.values())
    assert cgroups.remove(around)


def test_what_is_frozen_can_be_killed(parents: Parents):
    group = parents.create(f"test-{os.getpid()}", Limits())
    if not cgroups.can_freeze(group):
        pytest.skip("no freezer here")
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        for path in group.process_files:
            Path(path).write_text(str(sleeper.pid))
        assert cgroups.processes(group) == {sleeper.pid}
        assert not cgroups.remove(group)
        cgroups.freeze(group, frozen=True)
        cgroups.kill(group)
        assert sleeper.wait(timeout=60) == -signal.SIGKILL
    finally:
        sleeper.kill()
        sleeper.wait()
    assert cgroups.remove(group)


@pytest.mark.skipif(
    os.geteuid() != 0 or not (UNIFIED / "cgroup.controllers").exists(), reason="no version 2 that we may use"
)
def test_version_two(request: pytest.FixtureRequest):
    """Its mechanics, with whatever controllers this host has left for it."""
    given = (UNIFIED / "cgroup.subtree_control").read_text().split()
    offered = [name for name in (UNIFIED / "cgroup.controllers").read_text().split() if name not in given]
    request.addfinalizer(lambda: [(UNIFIED / "cgroup.subtree_control").write_text(f"-{name}") for name in offered[:1]])
    found = cgroups._unified(UNIFIED, "", (*given, *offered)[:1])
    assert found is not None
    group = Parents(found.version, found.folders, ()).create(f"test-{os.getpid()}", Limits())
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        for path in group.process_files:
            Path(path).write_text(str(sleeper.pid))
        cgroups.freeze(group, frozen=True)
        latest = time.monotonic() + 5
        while "frozen 1" not in Path(group.folders["unified"], "cgroup.events").read_text():
            assert time.monotonic() < latest
            time.sleep(0.01)
        assert cgroups.processes(group) == {sleeper.pid}
        cgroups.kill(group)
        assert sleeper.wait(timeout=60) == -signal.SIGKILL
    finally:
        sleeper.kill()
        sleeper.wait()
    assert cgroups.remove(group)


def test_a_refused_group_leaves_nothing_behind(tmp_path: Path):
    parents = Parents(1, {"pids": str(tmp_path), "memory": str(tmp_path / "absent")}, ("pids", "memory"))
    with pytest.raises(FileNotFoundError):
        parents.create("x", Limits())
    assert list(tmp_path.iterdir()) == []


def test_limits_of_version_two():
    group = Group(2, {"unified": "/g"})
    files = dict(cgroups._limit_files(group, Limits(memory_mb=1, cpus=0.5, pids=2), ("memory", "pids", "cpu")))
    assert files["/g/memory.max"] == "1048576"
    assert files["/g/cpu.max"] == "50000 100000"
    assert files["/g/pids.max"] == str(2 + cgroups.SPARE_PIDS)
