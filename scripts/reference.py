"""The reference pages below ``docs/reference``, written from the code so that they cannot tell anything else.

    .venv/bin/python scripts/reference.py [--check]

``--check`` writes nothing and fails, naming them, when pages are not what would be written.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any, get_type_hints

from fastapi import FastAPI
from fastapi.routing import APIRoute
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from raworc import __version__, errors
from raworc.api.app import ROUTES, add_routes
from raworc.api.auth import Permission, SignedIn
from raworc.api.openapi import dependencies_of, describe
from raworc.cli.main import COMMANDS, application
from raworc.client.errors import BY_CODE
from raworc.settings import ClientSettings, Settings
from raworc.variables import variables

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
HEAD = "<!-- Written by scripts/reference.py from the code: change that, not this page. -->\n"
Document = dict[str, Any]
UNITS = {"_s": "seconds", "_bytes": "bytes", "_mb": "MB", "_tokens": "tokens", "_percent": "percent"}
KINDS = {str: "text", int: "whole number", float: "number", bool: "on or off", Path: "path"}


def main() -> int:
    """Write the pages, or compare them; the exit code."""
    pages = {name: HEAD + "\n" + page() for name, page in PAGES.items()}
    if "--check" not in sys.argv[1:]:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            (FOLDER / name).write_text(text, encoding="utf-8")
        return 0
    stale = [name for name, text in pages.items() if not _is(FOLDER / name, text)]
    for name in stale:
        print(f"docs/reference/{name} is not what the code says: run '.venv/bin/python scripts/reference.py'")
    return 1 if stale else 0


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────
def settings_page() -> str:
    """Every environment variable."""
    return "\n".join(
        [
            "# Settings",
            "",
            "Settings are environment variables, read once when a process starts; options of the command line win",
            "over them. An empty variable counts as one that is not set. A value that cannot be meant is refused at",
            "the start.",
            "",
            "## Of a server",
            "",
            *_variables(Settings),
            "",
            "## Of the command line",
            "",
            *_variables(ClientSettings),
            "",
        ]
    )


def _variables(kind: type[Settings | ClientSettings]) -> Iterator[str]:
    yield from _table_head("Variable", "Value", "Default", "Meaning")
    hints = get_type_hints(kind)
    for item, told in variables(kind):
        value = ", ".join(f"`{choice}`" for choice in told.choices) or _value(item, hints[item.name])
        yield _row(f"`{told.key}`", value, _setting_default(item), told.meaning)


def _value(item: Field[Any], hint: object) -> str:
    unit = next((unit for end, unit in UNITS.items() if item.name.endswith(end)), None)
    known = next((word for kind, word in KINDS.items() if hint is kind), "text")
    return unit or known


def _setting_default(item: Field[Any]) -> str:
    if item.default is MISSING or item.default is None or item.default == "":
        return ""
    if not item.repr:
        return "see meaning"
    return f"`{'on' if item.default is True else 'off' if item.default is False else item.default}`"


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────
def errors_page() -> str:
    """Every error that a caller can meet."""
    lines = [
        "# Errors",
        "",
        "Every refusal has one body, in JSON:",
        "",
        "```json",
        '{"message": "...", "error": {"code": "...", "type": "...", "message": "...", "details": [{"field": "...",',
        ' "message": "..."}]}, "request_id": "...", "timestamp": "..."}',
        "```",
        "",
        "`error.code` is stable; `details` names refused fields and is there when there are any. With",
        "`Accept: application/problem+json` the body also has the members of RFC 9457. The last column is the",
        "exception that `raworc.client` raises.",
        "",
        *_table_head("Status", "Code", "When", "What to do", "Exception"),
    ]
    told = [kind for kind in _family(errors.RaworcError) if "advice" in vars(kind)]  # the others stay inside
    for kind in sorted(told, key=lambda kind: kind.status):
        exception = f"`{BY_CODE[kind.code].__name__}`"
        lines.append(_row(str(kind.status), f"`{kind.code}`", _sentence(kind), kind.advice, exception))
    return "\n".join([*lines, ""])


def _family(root: type[errors.RaworcError]) -> Iterator[type[errors.RaworcError]]:
    yield root
    for child in root.__subclasses__():
        yield from _family(child)


def _sentence(kind: type[object]) -> str:
    return _prose((kind.__doc__ or "").partition("\n\n")[0])


# ── command line ─────────────────────────────────────────────────────────────────────────────────────
def cli_page() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# Command line",
        "",
        "`raworc` alone opens a shell in which every command below works without `raworc` before it. `--help`",
        "behind any command tells the same as this page. Commands exit with 0 when they did what they say, with 1",
        "when they did not (the message names the next step), with 2 when they were called wrongly, with 130 after",
        "Ctrl-C.",
        "",
        *_table_head("Command", "What it does"),
        *(_row(f"[`{name}`](#raworc-{name})", summary) for name, (_, summary) in COMMANDS.items()),
        "",
    ]
    for name in COMMANDS:
        tree = get_command(application([name]))
        command = tree.commands[name] if isinstance(tree, TyperGroup) else tree
        lines += _command(f"raworc {name}", command, level="##")
    return "\n".join(lines)


def _command(path: str, command: TyperCommand | TyperGroup, *, level: str) -> Iterator[str]:
    yield from (f"{level} {path}", "")
    help_text = "" if isinstance(command, TyperGroup) else str(command.help or "")
    if isinstance(command, TyperGroup):
        yield from (_prose(str(command.help or "")), "")
        for name, child in command.commands.items():
            yield from _command(f"{path} {name}", child, level=level + "#")
        return
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    options = [item for item in command.params if item.param_type_name == "option" and "--help" not in item.opts]
    usage = " ".join([path, *("[OPTIONS]" for _ in options[:1]), *(_argument(item) for item in arguments)])
    yield from ("```", usage, "```", "", *_paragraphs(help_text))
    rows = [(_argument(item), "", item.help or "") for item in arguments if item.help]
    for item in options:
        meaning, _, told = (item.help or "").partition(" [default: ")
        rows.append((_option(item), told.rstrip("]") or _option_default(item), meaning))
    if rows:
        yield from _table_head("Argument or option", "Default", "Meaning")
        yield from (_row(f"`{name}`", default, meaning) for name, default, meaning in rows)
        yield ""


def _argument(item: TyperArgument) -> str:
    name = item.metavar or str(item.name).upper()
    return name if item.required or name.startswith("[") else f"[{name}]"


def _option(item: TyperOption) -> str:
    names = ", ".join(sorted(item.opts, key=len))
    if item.is_flag:
        return ", ".join([names, *item.secondary_opts])
    return f"{names} {str(item.metavar or item.name).upper().replace('_', '-')}"


def _option_default(item: TyperOption) -> str:
    plain = item.default
    return f"`{plain}`" if isinstance(plain, str | int | float) and not isinstance(plain, bool) and plain != "" else ""


# ── API ──────────────────────────────────────────────────────────────────────────────────────────────
def api_page() -> str:
    """Every operation, and the objects it takes and answers."""
    app = FastAPI(title="Raworc", version=__version__)
    add_routes(app, ROUTES)
    document = describe(app, ROUTES)
    served = {(method, r.path): r for r in app.routes if isinstance(r, APIRoute) for method in r.methods or ()}
    lines = [
        "# API",
        "",
        "Paths below `/api/v0` take and answer JSON. Besides the statuses named here, every route may answer 500 with",
        "a request id, which is a defect of the server; [errors](errors.md) lists them all. A running server has this",
        "page as `/api-docs/openapi.json`.",
        "",
        *_table_head("Operation", "What it does"),
    ]
    details: list[str] = []
    for route in ROUTES:
        known = served[route.method, route.full_path]
        operation = document["paths"][known.path_format][route.method.lower()]
        title = f"{route.method} {known.path_format}"
        lines.append(_row(f"[`{title}`](#{_anchor(title)})", _first_sentence(operation["description"])))
        details += [f"### {title}", "", *_operation(operation, list(dependencies_of(known.dependant)))]
    schemas = document["components"]["schemas"]
    objects = [line for name in sorted(schemas) for line in _object(name, schemas[name])]
    return "\n".join([*lines, "", "## Operations", "", *details, "## Objects", "", *objects])


def _operation(operation: Document, dependencies: list[object]) -> Iterator[str]:
    yield from _paragraphs(operation["description"])
    yield from (_who(dependencies), "")
    parameters = operation.get("parameters", [])
    if parameters:
        yield from _table_head("Parameter", "In", "Type", "Meaning")
        for item in parameters:
            meaning = item.get("description") or item["schema"].get("description", "")
            yield _row(f"`{item['name']}`", item["in"], _type(item["schema"]), meaning)
        yield ""
    if "requestBody" in operation:
        must = "" if operation["requestBody"].get("required") else ", which may be left out"
        yield from (f"Body: {_content(operation['requestBody'])}{must}.", "")
    answers = operation["responses"]
    success = min(answers)
    failures = ", ".join(sorted(status for status in answers if status not in (success, "500")))
    yield from (f"Answers {success}: {_content(answers[success]) or 'empty'}. Refuses with {failures}.", "")


def _who(dependencies: list[object]) -> str:
    for item in dependencies:
        if isinstance(item, Permission):
            return f"Needs the permission `{item.resource}: {item.verb}`, or to own what it is about."
        if isinstance(item, SignedIn):
            return "Needs a token, and no permission."
    return "Public."


def _content(holder: Document) -> str:
    return " or ".join(
        _type(content["schema"]) if kind == "application/json" else f"`{kind}`"
        for kind, content in holder.get("content", {}).items()
    )


def _object(name: str, schema: Document) -> Iterator[str]:
    yield from (f"### {name}", "", *_paragraphs(schema.get("description", "")))
    fields = schema.get("properties", {})
    if not fields:
        return
    required = set(schema.get("required", []))
    yield from _table_head("Field", "Type", "Default", "Meaning")
    for field, told in fields.items():
        default = "required" if field in required else _default(told)
        yield _row(f"`{field}`", _type(told), default, told.get("description", ""))
    yield ""


def _default(told: Document) -> str:
    return f"`{json.dumps(told['default'], ensure_ascii=False)}`" if "default" in told else ""


def _type(schema: Document) -> str:
    """A schema in few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(item) for item in schema[several]))
    if "allOf" in schema:
        return _type(schema["allOf"][0])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{choice}`" for choice in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return " ".join([schema.get("format") or schema.get("type") or "anything", *_bounds(schema)])


def _bounds(schema: Document) -> Iterator[str]:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        yield f"{least} to {most}"
    elif least is not None:
        yield f"from {least}"
    elif most is not None:
        yield f"to {most}"
    if "maxLength" in schema:
        yield f"of at most {schema['maxLength']} characters"
    if "pattern" in schema and schema["pattern"] != r"\S":
        yield f"`{schema['pattern']}`"


# ── Markdown ─────────────────────────────────────────────────────────────────────────────────────────
def _table_head(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield "|" + " --- |" * len(names)


def _row(*cells: str) -> str:
    return "| " + " | ".join(_prose(cell).replace("|", "\\|") for cell in cells) + " |"


def _prose(text: str) -> str:
    """Docstring text as Markdown on one line."""
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.replace("``", "`").split("\n\n"):
        if paragraph.strip():
            yield from (_prose(paragraph), "")


def _first_sentence(text: str) -> str:
    return _prose(text.partition("\n\n")[0])


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


PAGES: dict[str, Callable[[], str]] = {
    "api.md": api_page,
    "cli.md": cli_page,
    "settings.md": settings_page,
    "errors.md": errors_page,
}

if __name__ == "__main__":
    sys.exit(main())
