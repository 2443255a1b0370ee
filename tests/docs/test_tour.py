"""The lines of README and tour do what is said of them, as they stand there."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stack import Stack

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TOUR = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
DEFAULT_URL = "http://127.0.0.1:9000"


def block(heading: str, language: str) -> str:
    """The first code block of a language below a heading."""
    section = README.split(f"\n## {heading}\n", 1)[1]
    found = re.search(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert found, f"README has no {language} block below '{heading}'"
    return found[1]


def run(script: str, stack: Stack) -> subprocess.CompletedProcess[str]:
    assert DEFAULT_URL in script
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace(DEFAULT_URL, stack.url)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr
    return ended


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@needs_curl
def test_the_whole_tour_runs_as_it_stands(stack: Stack):
    script = "".join(re.findall(r"^```bash\n(.*?)^```$", TOUR, re.DOTALL | re.MULTILINE))
    lines = run(script, stack).stdout.splitlines()
    promised = re.findall(r"^(?:TOKEN=\$HERS )?refused .*?# (\d{3})", script, re.MULTILINE)
    assert [line[-3:] for line in lines if line.startswith('{"message"')] == promised
    for said in (
        "ready",
        "key of 15 letters",
        "cancelled",
        "42",
        "no key",
        "scout",
        "nina",
        "You said: Hello",
        "from outside",
        "in/note.txt",
        "Raworc",
    ):
        assert said in lines
    assert lines[-1] == "0", "the tour leaves nothing behind"


@needs_curl
def test_the_curl_tour_runs_as_it_stands(stack: Stack):
    ended = run(block("A tour with curl", "bash"), stack)
    assert '"output_content":[{"type":"text","content":"Linux"}]' in ended.stdout.replace('": ', '":')
    assert re.search(r"^event: segment$", ended.stdout, re.MULTILINE)
    assert '"name":"os.txt"' in ended.stdout.replace('": ', '":')
    assert re.search(r"^Linux$", ended.stdout, re.MULTILINE)
    assert '"input_tokens"' in ended.stdout
    assert "You said: Hello" in ended.stdout
    assert '"message":' not in ended.stdout, "one of the calls was refused"
    assert stack.client().agents.page(q="tour").total == 0


def test_the_python_example_runs_as_it_stands(stack: Stack):
    program = block("From Python", "python").replace(DEFAULT_URL, stack.url)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "You said: Hello!\n"


def test_every_link_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} points at '{target}'"


def test_the_tour_is_json_where_it_says_so():
    body = re.search(r"-d '(\{\n.*?\n\})'", block("A tour with curl", "bash"), re.DOTALL)
    assert body
    assert json.loads(body[1])["background"] is False
