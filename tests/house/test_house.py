"""Each house rule finds what it is for, and leaves alone what is right."""

import runpy
from pathlib import Path

import pytest

house = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "house.py"), run_name="house")


def told(text: str, path: str = "src/raworc/thing.py") -> list[str]:
    return [message for _, _, message in house["findings"]([house["parse"](path, text)])]


LONG = "def long():\n" + "    x = 1\n" * 40

BAD = {
    "long file": ("x = 1\n" * 401, "401 lines"),
    "long function": (LONG, "'long' has 41 lines"),
    "long tail": ("\n".join(f"def f{n}():\n" + "    x = 1\n" * 30 for n in range(10)), "90th percentile"),
    "environ": ("import os\nos.environ['X']", "reads the environment"),
    "getenv": ("from os import getenv", "imports 'getenv'"),
    "broad": ("try:\n    f()\nexcept Exception:\n    log()", "catches everything"),
    "bare": ("try:\n    f()\nexcept:\n    pass", "catches everything"),
    "broad among others": ("try:\n    f()\nexcept (OSError, BaseException):\n    log()", "catches everything"),
    "suppress": ("import contextlib\nwith contextlib.suppress(Exception):\n    f()", "suppresses everything"),
    "import": ("def f():\n    import os", "import inside 'f'"),
    "naked ignore": ("x = eval('1')  # noqa: S307", "silences a rule"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_rule_finds_its_case(text: str, message: str):
    assert any(message in found for found in told(text))


@pytest.mark.parametrize("name", ["utils", "agent_helpers", "common", "session_manager", "loop_v2"])
def test_a_module_name_without_a_noun_is_found(name: str):
    assert told("", f"src/raworc/{name}.py")


def test_a_test_that_sleeps_is_found_and_one_that_polls_is_not():
    assert told("import time\ntime.sleep(1)", "tests/x/test_x.py")
    assert not told("import time\nwhile not done():\n    time.sleep(0.01)", "tests/x/test_x.py")


GOOD = {
    "at the limit": LONG.replace("    x = 1\n", "", 1),
    "clean up": "try:\n    f()\nexcept BaseException:\n    undo()\n    raise",
    "narrow": "try:\n    f()\nexcept OSError:\n    pass",
    "another environ": "def f(self): return self.program.environ",
    "reason": "x = eval('1')  # noqa: S307  the test's own text",
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_what_is_right_is_left_alone(text: str):
    assert told(text + "\ndef short(): ...\n" * 20) == []


def test_there_are_at_most_four_process_loops():
    assert len(house["PROCESS_LOOPS"]) <= 4
