"""The README's lines do what it says, as they stand there."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stack import Stack

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
DEFAULT_URL = "http://127.0.0.1:9000"


def block(heading: str, language: str) -> str:
    """The first code block of a language below a heading."""
    section = README.split(f"\n## {heading}\n", 1)[1]
    found = re.search(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert found, f"README has no {language} block below '{heading}'"
    return found[1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_tour_runs_as_it_stands(stack: Stack):
    script = block("A tour with curl", "bash")
    assert DEFAULT_URL in script
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace(DEFAULT_URL, stack.url)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
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
    root = Path(__file__).parents[2]
    for page in [root / "README.md", root / "SECURITY.md", *sorted((root / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} points at '{target}'"


def test_the_tour_is_json_where_it_says_so():
    body = re.search(r"-d '(\{\n.*?\n\})'", block("A tour with curl", "bash"), re.DOTALL)
    assert body
    assert json.loads(body[1])["background"] is False
