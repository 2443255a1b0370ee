"""The reference pages say what the code says: whoever changes one changes both."""

import runpy
from pathlib import Path

import pytest

from raworc import errors

ROOT = Path(__file__).parents[2]
reference = runpy.run_path(str(ROOT / "scripts" / "reference.py"), run_name="reference")


@pytest.mark.parametrize("name", reference["PAGES"])
def test_a_page_is_what_the_code_says(name: str):
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == reference["HEAD"] + "\n" + reference["PAGES"][name](), (
        "run '.venv/bin/python scripts/reference.py'"
    )


def test_every_error_that_leaves_the_server_says_what_to_do():
    told = reference["errors_page"]()
    for kind in reference["_family"](errors.RaworcError):
        if kind not in (errors.LostHold, errors.TurnSettled):
            assert kind.__dict__.get("advice"), kind
            assert kind.advice in told


def test_a_page_that_is_not_true_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    main = reference["main"]
    monkeypatch.setitem(main.__globals__, "FOLDER", tmp_path)
    monkeypatch.setitem(main.__globals__, "PAGES", {"errors.md": reference["errors_page"]})
    monkeypatch.setattr("sys.argv", ["reference.py"])
    assert main() == 0
    monkeypatch.setattr("sys.argv", ["reference.py", "--check"])
    assert main() == 0
    (tmp_path / "errors.md").write_text("old")
    assert main() == 1
    assert "docs/reference/errors.md is not what the code says" in capsys.readouterr().out
