"""What is forked gets what it would get if it were started, and its end is told."""

import json
import os
import signal
from pathlib import Path

from nursery import nursery

PROGRAM = """
import json, os, sys
told, wanted = sys.argv[1], int(sys.argv[2])
os.write(wanted, json.dumps({
    "name": __name__, "arguments": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(),
    "leads": os.getsid(0) == os.getpid(), "parent": os.getppid(),
    "open": [int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")],
}).encode())
print("said", told, flush=True)
sys.exit(int(told))
"""


def test_a_forked_process_has_what_it_was_given_and_nothing_else(tmp_path: Path) -> None:
    program, output = tmp_path / "program.py", tmp_path / "output"
    program.write_text(PROGRAM)
    reading, writing = os.pipe()
    with output.open("wb") as log:
        arguments = [str(program), "3", str(writing)]
        process = nursery().start(arguments, env={"ONLY": "this"}, output=log, pass_fds=[writing])
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = json.loads(pipe.read())
    assert process.wait(30) == process.poll() == 3
    assert output.read_text() == "said 3\n"
    assert told.pop("open") == [0, 1, 2, writing]
    assert told == {
        "name": "__main__",
        "arguments": arguments[1:],
        "env": {"ONLY": "this"},
        "cwd": str(Path.cwd()),
        "leads": True,
        "parent": nursery().pid,
    }


def test_a_forked_process_can_be_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import signal\nsignal.pause()")
    with (tmp_path / "output").open("wb") as log:
        process = nursery().start([str(program)], env={}, output=log, pass_fds=[])
    assert process.poll() is None
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    process.kill()  # nothing happens
