"""Command-line options as dataclasses: a command takes one typed value instead of a row of parameters."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, get_type_hints

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text.")]
"""``*, as_json: Json = False``"""

AgentName = Annotated[str, typer.Argument(metavar="NAME", help="The agent's name.", show_default=False)]


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose dataclass parameters are spread into one option per field.

    The fields' annotations are typer's own (``Annotated[str, typer.Option(help=...)]``).
    """
    signature = inspect.signature(command, eval_str=True)
    bundles: dict[str, type[Any]] = {
        name: item.annotation
        for name, item in signature.parameters.items()
        if isinstance(item.annotation, type) and is_dataclass(item.annotation)
    }

    def run(**values: Any) -> None:  # noqa: ANN401  whatever the options' types are
        for name, kind in bundles.items():
            values[name] = kind(**{option.name: values.pop(option.name) for option in fields(kind)})
        command(**values)

    kept = [item for name, item in signature.parameters.items() if name not in bundles]
    options = [option for kind in bundles.values() for option in _parameters(kind)]
    run.__signature__ = inspect.Signature([*kept, *options])  # pyright: ignore[reportFunctionMemberAccess]
    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    return run


def _parameters(kind: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            option.name, inspect.Parameter.KEYWORD_ONLY, default=_default(option), annotation=hints[option.name]
        )
        for option in fields(kind)
    ]


def _default(option: Field[Any]) -> object:
    if option.default is not MISSING:
        return option.default
    return option.default_factory() if option.default_factory is not MISSING else inspect.Parameter.empty
