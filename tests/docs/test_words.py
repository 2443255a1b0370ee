"""Commands, options and settings that the documents name are there."""

import re
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from raworc.cli.main import COMMANDS, application
from raworc.settings import ClientSettings, Settings
from raworc.variables import variables

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS = {told.key for kind in (Settings, ClientSettings) for _, told in variables(kind)}


def named(text: str) -> set[tuple[str, ...]]:
    """The command lines in blocks and in running text, as words."""
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line.partition(" #")[0] for block in blocks for line in block.split("\n")]
    spans = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = [re.search(r"(?:^|[ /])raworc ([a-z-].*)", re.sub(r"\s+", " ", line)) for line in [*lines, *spans]]
    return {tuple(match[1].split()) for match in found if match}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_that_is_named_is_there(page: Path):
    for words in named(page.read_text(encoding="utf-8")):
        if words[0].startswith("-"):
            continue
        assert words[0] in COMMANDS, f"{page.name} names 'raworc {words[0]}'"
        command = get_command(application(words[:1]))
        for word in words:
            if isinstance(command, TyperGroup) and not word.startswith("-"):
                command = command.commands.get(word)
                assert command, f"{page.name}: 'raworc {' '.join(words)}' has no '{word}'"
        options = {option for item in command.params for option in (*item.opts, *item.secondary_opts)} | {"--help"}
        unknown = {word.partition("=")[0] for word in words if re.match(r"--\w", word)} - options
        assert not unknown, f"{page.name}: 'raworc {' '.join(words)}' has no {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_setting_that_is_named_is_there(page: Path):
    assert set(re.findall(r"\bRAWORC_[A-Z_]+", page.read_text(encoding="utf-8"))) <= SETTINGS


def test_what_is_not_there_would_be_found():
    assert named("`raworc\nup --x`") == {("up", "--x")}
    assert named("```bash\n.venv/bin/raworc bogus  # why\n```") == {("bogus",)}
