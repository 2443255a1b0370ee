"""A dataclass parameter becomes one option per field, defaults included."""

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from raworc.cli.options import spread


@dataclass(frozen=True)
class Shape:
    width: Annotated[int, typer.Option(help="How wide.")]
    colour: Annotated[str | None, typer.Option()] = None
    tag: Annotated[list[str], typer.Option()] = field(default_factory=list)


def run(*arguments: str) -> tuple[int, list[object]]:
    seen: list[object] = []
    app = typer.Typer()

    @app.command()
    @spread
    def draw(name: str, shape: Shape, *, loud: bool = False) -> None:
        """Draw it."""
        seen.extend([name, shape, loud])

    return CliRunner().invoke(app, arguments).exit_code, seen


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("a", "--width", "3"), ["a", Shape(3), False]),
        (("a", "--width", "3", "--colour", "red", "--loud"), ["a", Shape(3, "red"), True]),
        (("a", "--width", "3", "--tag", "x", "--tag", "y"), ["a", Shape(3, None, ["x", "y"]), False]),
    ],
)
def test_options_arrive_as_one_value(arguments: tuple[str, ...], expected: list[object]):
    assert run(*arguments) == (0, expected)


def test_a_field_without_a_default_is_required():
    assert run("a")[0] == 2
