"""What a repository says about itself, and what has to be run to make an agent of it. All of it is a stranger's."""

import json
import re
import tomllib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from raworc.domain.text import storable_text

Runtime = Literal["python3", "node"]
Exists = Callable[[str], bool]
"""Whether there is a file of this path in the repository."""

MANIFEST: Final = "raworc.json"
PYPROJECT: Final = "pyproject.toml"
PACKAGE: Final = "package.json"
DEPENDENCIES: Final = ".deps"
"""Where an agent's Python packages lie, beside its code; those of Node lie in ``node_modules``."""

_HANDLERS: Final[dict[Runtime, str]] = {"python3": "main.process_message", "node": "index.processMessage"}
_SUFFIXES: Final[dict[Runtime, tuple[str, ...]]] = {
    "python3": (".py", "/__init__.py"),
    "node": (".js", ".mjs", ".cjs", "/index.js"),
}
_HANDLER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:[./][A-Za-z_][A-Za-z0-9_-]*)*\.[A-Za-z_$][A-Za-z0-9_$]*")
_MAX_TEXT: Final = 4000
_MAX_COMMAND: Final = 16_384
_MISSING: Final = "echo \"{what} is not installed on the server: install the package '{package}'\"; exit 127; }}"
_HAS_PIP: Final = "python3 -c 'import importlib.util as u, sys; sys.exit(not u.find_spec(\"pip\"))'"
_PIP: Final = f"python3 -m pip install --no-input --no-compile --quiet --target {DEPENDENCIES}"
_PIP_FIRST: Final = f"{_HAS_PIP} || {{ {_MISSING.format(what='pip', package='python3-pip')}"
_NPM_FIRST: Final = f"command -v npm > /dev/null || {{ {_MISSING.format(what='npm', package='npm')}"
_NPM: Final = "--omit=dev --no-audit --no-fund --no-update-notifier --loglevel=error"
_COMPILE: Final = "python3 -m compileall -q -f --invalidation-mode unchecked-hash . > /dev/null 2>&1 || true"
_LOCKS: Final = ("package-lock.json", "npm-shrinkwrap.json")


class Unbuildable(Exception):
    """This repository makes no agent; the message says why, for whoever wrote it."""


@dataclass(frozen=True)
class Manifest:
    """What ``raworc.json`` says, or what stands in its place. ``handler`` is ``module.function``."""

    runtime: Runtime
    handler: str
    description: str | None = None
    purpose: str | None = None
    build_command: str | None = None


@dataclass(frozen=True)
class Step:
    """Something to run by bash at the root of the code."""

    title: str
    script: str


def read_manifest(raw: bytes | None, exists: Exists) -> Manifest:
    """The manifest, filled up with what the files say.

    Raises:
        Unbuildable: it cannot be read, or names what is not there.
    """
    given = {} if raw is None else _document(raw)
    runtime = _runtime(given, exists)
    handler = _text(given, "handler") or _HANDLERS[runtime]
    if not _HANDLER.fullmatch(handler):
        raise Unbuildable(f"'handler' in '{MANIFEST}' must be 'module.function', not '{handler[:80]}'")
    module = module_path(runtime, handler)
    if not any(exists(module + suffix) for suffix in _SUFFIXES[runtime]):
        raise Unbuildable(f"There is no '{module}{_SUFFIXES[runtime][0]}' for the handler '{handler}'")
    return Manifest(
        runtime=runtime,
        handler=handler,
        description=_text(given, "description"),
        purpose=_text(given, "purpose"),
        build_command=_text(given, "build_command", _MAX_COMMAND),
    )


def module_path(runtime: Runtime, handler: str) -> str:
    """The path of a handler's module below the root of its code, without what files of its kind end in."""
    module = handler.rpartition(".")[0]
    return module.replace(".", "/") if runtime == "python3" else module


def steps(manifest: Manifest, files: Collection[str], pyproject: bytes | None, package: bytes | None) -> list[Step]:
    """What to run, in order. ``files`` are the names at the root; of two of them the contents are given.

    Raises:
        Unbuildable: a file of dependencies cannot be read.
    """
    found: list[Step] = []
    if manifest.runtime == "python3":
        found += _python(files, pyproject)
    else:
        found += _node(files, package)
    if manifest.build_command:
        found.append(Step("build_command", manifest.build_command))
    if manifest.runtime == "python3":
        found.append(Step("compile", _COMPILE))
    return found


def _python(files: Collection[str], pyproject: bytes | None) -> list[Step]:
    if "requirements.txt" in files:
        return [Step("install requirements.txt", f"{_PIP_FIRST}\n{_PIP} -r requirements.txt")]
    if pyproject is None:
        return []
    try:
        project = tomllib.loads(pyproject.decode()).get("project")
    except (ValueError, RecursionError) as error:
        raise Unbuildable(f"'{PYPROJECT}' cannot be read: {str(error)[:200]}") from None
    if not isinstance(project, dict):
        return []
    told = cast("dict[str, Any]", project)
    dynamic = "dependencies" in told.get("dynamic", ()) if isinstance(told.get("dynamic", ()), list) else False
    needs = dynamic or told.get("dependencies")
    return [Step(f"install {PYPROJECT}", f"{_PIP_FIRST}\n{_PIP} .")] if needs else []


def _node(files: Collection[str], package: bytes | None) -> list[Step]:
    if package is None:
        return []
    try:
        told = json.loads(package)
    except (ValueError, RecursionError):
        raise Unbuildable(f"'{PACKAGE}' is no JSON") from None
    if not isinstance(told, dict) or not (told.keys() & {"dependencies", "optionalDependencies"}):
        return []
    command = "ci" if any(lock in files for lock in _LOCKS) else "install"
    return [Step(f"npm {command}", f"{_NPM_FIRST}\nnpm {command} {_NPM}")]


def _document(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise Unbuildable(f"'{MANIFEST}' is no JSON") from None
    if not isinstance(found, dict):
        raise Unbuildable(f"'{MANIFEST}' must be a JSON object")
    return cast("dict[str, Any]", found)


def _runtime(given: dict[str, Any], exists: Exists) -> Runtime:
    match given.get("runtime"):
        case "python3" | "python":
            return "python3"
        case "node":
            return "node"
        case None:
            pass
        case other:
            raise Unbuildable(f"'runtime' in '{MANIFEST}' must be 'python3' or 'node', not {str(other)[:80]!r}")
    for runtime, handler in _HANDLERS.items():
        module = module_path(runtime, handler)
        if any(exists(module + suffix) for suffix in _SUFFIXES[runtime]):
            return runtime
    raise Unbuildable(f"There is neither '{MANIFEST}' nor 'main.py' nor 'index.js': nothing says how to run it")


def _text(given: dict[str, Any], field: str, most: int = _MAX_TEXT) -> str | None:
    text = given.get(field)
    if text is None or text == "":
        return None
    if not isinstance(text, str) or len(text) > most:
        raise Unbuildable(f"'{field}' in '{MANIFEST}' must be text of at most {most} characters")
    return storable_text(text)
