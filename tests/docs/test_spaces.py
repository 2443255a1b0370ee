"""The lines of the page about spaces do what is said of them, run in this process: a start of Python takes a second."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from building import repository
from stack import Stack
from terminal import Shell
from waiting import until_sync

PAGE = (Path(__file__).parents[2] / "docs" / "spaces.md").read_text(encoding="utf-8")
LINE = re.compile(r"(?:(?P<name>[A-Z]+)=\$\()?(?:printf %s '(?P<typed>[^']*)' \| )?raworc (?P<rest>.*)", re.DOTALL)
REPOSITORY = "https://git.example.com/greeter.git"


def commands() -> Iterator[str]:
    """One command after the other; a quote that is open goes on over lines."""
    for _, block in re.findall(r"^(`{3,})bash\n(.*?)^\1$", PAGE, re.DOTALL | re.MULTILINE):
        pending = ""
        for line in block.splitlines(keepends=True):
            pending += line
            if pending.count("'") % 2 == 0:
                yield pending.strip()
                pending = ""


def repository_of_the_page(folder: Path) -> str:
    """The repository that the page speaks of, with the program that stands there."""
    found = re.search(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    return f"file://{repository(folder, {'main.py': found[1]})}"


def test_the_page_about_spaces_runs_as_it_stands(steady_stack: Stack, tmp_path: Path):
    with steady_stack.client() as client:
        token = str(client._transport.token)
    env = {"RAWORC_URL": steady_stack.url, "RAWORC_TOKEN": token, "RAWORC_CREDENTIALS": str(tmp_path / "none")}
    shell, known = Shell({"PATH": os.environ["PATH"], **env}), dict[str, str]()
    repo, told = repository_of_the_page(tmp_path / "greeter"), 0
    for command in commands():
        found = LINE.fullmatch(command)
        assert found, command
        said_to_be = command.rpartition("  # ")[2] if "  # " in command else ""
        words = shlex.split(found["rest"].rpartition("  # ")[0] or found["rest"].removesuffix(")"))
        words = [repo if word == REPOSITORY else word for word in words]
        words = [re.sub(r"^\$([A-Z]+)\)?$", lambda name: known[name[1]], word.removesuffix(")")) for word in words]
        said = shell.here(*words, typed=found["typed"] or "").strip()
        if found["name"]:
            known[found["name"]] = said
        if words[:2] == ["sessions", "send"]:
            assert said == said_to_be.removesuffix(")"), command
            told += 1
        if words[:2] == ["code-agents", "logs"]:  # its lines come when they come
            until_sync(lambda words=words, wanted=said_to_be: wanted in shell.here(*words), limit_s=60)
            told += 1
    assert told == 5
