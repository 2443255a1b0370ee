"""A host that cannot isolate is named as such, with the cure, and nothing weaker is ever done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raworc.sandbox import host
from raworc.sandbox.bubblewrap import BubblewrapDriver
from raworc.sandbox.conformance import Bench
from raworc.sandbox.conformance.bench import run

pytestmark = pytest.mark.anyio

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take something away from this host")
ASK = "from raworc.sandbox import host; print(host.missing())"
REFUSE = "from raworc.sandbox import host; host.require()"


def in_a_host_where(preparation: str, *unshared: str, ask: str = ASK) -> str:
    """What a Python says in namespaces of its own, after the shell has prepared them."""
    python = sys.executable  # opened first: it may be what the preparation hides
    script = f"exec 9<{python} && {preparation} && exec -a {python} /proc/self/fd/9 -c '{ask}'"
    done = subprocess.run(["unshare", *unshared, "bash", "-c", script], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_this_host_can():
    assert host.missing() is None
    assert host.require().endswith("/bwrap")
    assert host.bwrap_version() >= host.OLDEST_BWRAP


@as_root
def test_no_bubblewrap():
    hide = "mount --bind /dev/null $(command -v bwrap)"
    assert "sudo apt-get install --yes bubblewrap" in in_a_host_where(hide, "-m")
    assert "SandboxUnavailable: This host cannot isolate agents" in in_a_host_where(hide, "-m", ask=REFUSE)


@as_root
def test_no_python_for_the_guest():
    hide = "mount --bind /dev/null $(readlink -f /usr/bin/python3)"
    assert "sudo apt-get install --yes python3-minimal" in in_a_host_where(hide, "-m")


@as_root
def test_no_namespaces():
    said = in_a_host_where("echo 0 > /proc/sys/user/max_user_namespaces", "-U", "-r")
    assert "sysctl -w user.max_user_namespaces=" in said


async def test_nothing_of_the_operator_is_inside(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, anyio_backend: str
):
    """Not its environment, not its descriptors, even those that any child would inherit."""
    monkeypatch.setenv("OPERATOR_SECRET", "canary-in-the-environment")
    leak = os.dup2(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), 77, inheritable=True)
    bench: Bench = request.getfixturevalue("bench")
    async with bench.sandbox() as sandbox:
        environments = await run(sandbox, "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")
        descriptors = await run(sandbox, "ls -l /proc/self/fd | awk '{print $9, $10, $11}'")
    assert "canary" not in environments.text
    assert "OPERATOR" not in environments.text
    assert {line.split()[0] for line in descriptors.text.splitlines() if line.strip()} <= {"0", "1", "2", "3"}
    os.close(leak)


async def test_each_session_has_a_user_of_its_own(driver: BubblewrapDriver, bench: Bench):
    if os.geteuid() != 0:
        pytest.skip("not root: there is only one user")
    one, two = bench.workspace(), bench.workspace()
    async with bench.sandbox(one), bench.sandbox(two):
        lives = [driver._lives.find(workspace.session_id) for workspace in (one, two)]
        uids = [uid_of(life.init.pid) for life in lives if life]
    assert uids == [driver._places.uid_base + 1, driver._places.uid_base + 2]


def uid_of(pid: int) -> int:
    """The folder in /proc of a process that hides is root's; its status tells."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Uid:"))
