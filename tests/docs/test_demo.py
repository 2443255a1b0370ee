"""The demo, as a stranger runs it: it shows what it promises and leaves nothing behind."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(240)
ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / "scripts" / "demo")


def test_the_demo_shows_work_records_and_files_and_cleans_up():
    env = {**os.environ, "ANTHROPIC_API_KEY": "sk-must-not-be-used", "RAWORC_PORT": "1"}
    ended = subprocess.run([DEMO, "--no-setup"], capture_output=True, text=True, timeout=200, env=env, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    shown = ended.stdout
    for text in (
        "[exit code 1]\n╰ failed",
        "│ average: 6.0\n╰ ok",
        "average.py",
        "'demo' is asleep",
        "'demo' is awake",
    ):
        assert text in shown, shown
    assert len(re.findall(r"^\S+ \S+  scripted  200 ", shown, re.MULTILINE)) == 5
    assert shown.count("\naverage: 6.0\n") == 3, "the answer, the file, the file after sleep and wake"
    assert left_behind(home_of(shown)) == ""


def test_ctrl_c_leaves_nothing_behind():
    running = subprocess.Popen([DEMO, "--no-setup"], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert running.stdout
    shown = ""
    for line in running.stdout:
        shown += line
        if "raworc ask" in line:
            break
    os.killpg(running.pid, signal.SIGINT)
    running.stdout.read()
    assert running.wait(60) == 130
    assert left_behind(home_of(shown)) == ""


def test_killing_the_demo_ends_what_it_started():
    running = subprocess.Popen([DEMO, "--no-setup"], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert running.stdout
    shown = ""
    for line in running.stdout:
        shown += line
        if line.startswith("Home "):
            break
    running.kill()
    ends = time.monotonic() + 60
    while found := processes(home_of(shown)):
        assert time.monotonic() < ends, found
        time.sleep(0.1)
    shutil.rmtree(home_of(shown))


def test_an_unknown_option_is_refused():
    assert subprocess.run([DEMO, "--kepe"], capture_output=True, check=False).returncode == 2


def home_of(shown: str) -> Path:
    found = re.search(r"--home (\S+)", shown)
    assert found, shown
    return Path(found[1]).parent


def processes(home: Path) -> str:
    lines = [command_line(process) for process in Path("/proc").glob("[0-9]*")]
    return "\n".join(line for line in lines if str(home) in line)


def command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it ended meanwhile
        return ""


def left_behind(home: Path) -> str:
    return processes(home) + (f"folder {home}" if home.exists() else "")
