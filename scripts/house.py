"""House rules that no ready-made linter holds. Run by ``scripts/check``; prints ``path:line: what to do``.

Each rule opens with its reason. They read the syntax tree only: nothing is imported or run.
"""

import ast
import gc
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "bench", "scripts")
GENERATED = "migrations/versions"

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_LISTED_LINES = 50
MAX_P90_LINES = 30

LONG_FUNCTIONS: dict[str, str] = {}
"""``path::function`` of each that may reach 50 lines, and why it does not fall apart into two."""

PROCESS_LOOPS: dict[str, str] = {
    "src/raworc/api/app.py::_guarded": "the server's: one request's defect must not reach another one",
    "src/raworc/api/cycle.py::run_asgi": "the server's: one model call's defect must not reach another one",
    "src/raworc/recorder/load.py::_row": "the recorder's: one call's defect must not hold up those behind it",
    "src/raworc/sandbox/runner/runner.py::tried": "a handler's, inside the sandbox: what it raises is its answer",
}
"""``path::function`` of the loops that must outlive any failure of one round, at most four."""

_BROAD = {"Exception", "BaseException"}
_NAMELESS = re.compile(r"(^|_)(utils?|helpers?|common|managers?|misc)(_|$)|_v\d+$")
_ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}
_SETTINGS = "src/raworc/settings.py"


@dataclass(frozen=True)
class Source:
    """One file: its path below the repository, its lines, its syntax tree's nodes as ``ast.walk`` gives them."""

    path: str
    lines: tuple[str, ...]
    nodes: tuple[ast.AST, ...]

    @property
    def is_product(self) -> bool:
        """Part of what is shipped, not of what tests or measures it."""
        return self.path.startswith("src/")


type_of_function = ast.FunctionDef | ast.AsyncFunctionDef
Finding = tuple[str, int, str]
Rule = Callable[[Source], Iterator[tuple[int, str]]]


def read(path: Path) -> Source:
    """Parse one file of the repository."""
    text = path.read_text(encoding="utf-8")
    return parse(path.relative_to(ROOT).as_posix(), text)


def parse(path: str, text: str) -> Source:
    """Parse ``text`` as if it stood at ``path``."""
    return Source(path, tuple(text.splitlines()), tuple(ast.walk(ast.parse(text))))


def functions(source: Source) -> Iterator[type_of_function]:
    """Every function and method, nested ones included."""
    for node in source.nodes:
        if isinstance(node, type_of_function):
            yield node


def length(function: type_of_function) -> int:
    """Lines from ``def`` to the end, docstring included, decorators not."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def file_length(source: Source) -> Iterator[tuple[int, str]]:
    """A file that does not fit in a head hides a second noun."""
    if len(source.lines) > MAX_FILE_LINES:
        yield 1, f"{len(source.lines)} lines, at most {MAX_FILE_LINES}: split it by noun"


def function_length(source: Source) -> Iterator[tuple[int, str]]:
    """The tail is what tires readers: good code bases differ from bad ones there, not in the median."""
    for function in functions(source):
        listed = f"{source.path}::{function.name}" in LONG_FUNCTIONS
        limit = MAX_LISTED_LINES if listed else MAX_FUNCTION_LINES
        if length(function) > limit:
            yield function.lineno, f"'{function.name}' has {length(function)} lines, at most {limit}"


def environment(source: Source) -> Iterator[tuple[int, str]]:
    """A variable read far from home is a setting that no page lists and no test can set."""
    if not source.is_product or source.path == _SETTINGS:
        return
    for node in source.nodes:
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in _ENVIRONMENT:
                yield node.lineno, f"reads the environment ('{name}'): only '{_SETTINGS}' does"
            case ast.ImportFrom(module="os", names=names):
                for alias in names:
                    if alias.name in _ENVIRONMENT:
                        yield node.lineno, f"imports '{alias.name}': only '{_SETTINGS}' reads the environment"
            case _:
                pass


def broad_handlers(source: Source) -> Iterator[tuple[int, str]]:
    """Who catches everything hides the next defect. Cleaning up and raising again is fine."""
    if not source.is_product:
        return
    allowed = [f for f in functions(source) if f"{source.path}::{f.name}" in PROCESS_LOOPS]
    for node in source.nodes:
        if not isinstance(node, ast.ExceptHandler) or not _is_broad(node.type) or _raises_again(node):
            continue
        if not any(f.lineno <= node.lineno <= (f.end_lineno or f.lineno) for f in allowed):
            yield node.lineno, "catches everything: name what this line can handle"


def silent_suppress(source: Source) -> Iterator[tuple[int, str]]:
    """``suppress(Exception)`` is a silent broad except in other clothes."""
    for node in source.nodes:
        if not isinstance(node, ast.Call) or not source.is_product:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "suppress" and any(_is_broad(argument) for argument in node.args):
            yield node.lineno, "suppresses everything: name what may be ignored"


def hidden_imports(source: Source) -> Iterator[tuple[int, str]]:
    """An import inside a function is an arrow between layers that no picture shows."""
    for function in functions(source):
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield node.lineno, f"import inside '{function.name}': move it to the top"


def module_names(source: Source) -> Iterator[tuple[int, str]]:
    """``utils`` says that a noun is missing."""
    for part in Path(source.path).with_suffix("").parts:
        if _NAMELESS.search(part):
            yield 1, f"'{part}' names nothing: which noun is it about?"


def naked_ignores(source: Source) -> Iterator[tuple[int, str]]:
    """A silenced rule without a reason is silenced for ever."""
    for number, line in enumerate(source.lines, 1):
        match = re.search(r"# noqa\b(:? ?[A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)*)?(?P<reason>.*)$", line)
        if match and not match["reason"].strip():
            yield number, "silences a rule: add the reason behind the code ('# noqa: X100  because ...')"


def sleeping_tests(source: Source) -> Iterator[tuple[int, str]]:
    """A test that sleeps is slow on a good day and wrong on a bad one. Poll in a loop with a deadline."""
    if not source.path.startswith("tests/"):
        return
    loops = [node for node in source.nodes if isinstance(node, ast.While | ast.For | ast.AsyncFor)]
    polled = {id(node) for loop in loops for node in ast.walk(loop)}
    for node in source.nodes:
        if isinstance(node, ast.Call) and id(node) not in polled and _is_sleep(node.func):
            yield node.lineno, "sleeps: wait for the condition in a loop with a deadline"


RULES: tuple[Rule, ...] = (
    file_length,
    function_length,
    environment,
    broad_handlers,
    silent_suppress,
    hidden_imports,
    module_names,
    naked_ignores,
    sleeping_tests,
)


def tail(sources: list[Source]) -> Iterator[Finding]:
    """The 90th percentile of the product's functions, because an average hides the long ones."""
    sizes = sorted(length(function) for source in sources if source.is_product for function in functions(source))
    p90 = sizes[len(sizes) * 9 // 10] if sizes else 0
    if p90 > MAX_P90_LINES:
        yield "src", 1, f"the 90th percentile of function length is {p90}, at most {MAX_P90_LINES}"


def findings(sources: list[Source]) -> list[Finding]:
    """What breaks a rule, by path and line."""
    found = [(source.path, line, text) for source in sources for rule in RULES for line, text in rule(source)]
    return sorted([*found, *tail(sources)])


def main() -> int:
    """Check the whole repository; 1 when anything was found."""
    gc.disable()  # it would look at all these trees again and again, which takes longer than the rules do
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    sources: list[Source] = []
    broken: list[Finding] = []
    for path in paths:
        if GENERATED in path.as_posix():
            continue
        try:
            sources.append(read(path))
        except SyntaxError as error:
            broken.append((path.relative_to(ROOT).as_posix(), error.lineno or 1, f"not valid Python: {error.msg}"))
    found = [*broken, *findings(sources)]
    for path, line, text in found:
        print(f"{path}:{line}: {text}")
    print(f"house: {len(sources)} files, {len(found)} findings")
    return 1 if found else 0


def _is_broad(kind: ast.expr | None) -> bool:
    match kind:
        case None:
            return True
        case ast.Name(id=name):
            return name in _BROAD
        case ast.Tuple(elts=kinds):
            return any(_is_broad(item) for item in kinds)
        case _:
            return False


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _is_sleep(function: ast.expr) -> bool:
    match function:
        case ast.Attribute(value=ast.Name(id="time" | "anyio" | "asyncio"), attr="sleep") | ast.Name(id="sleep"):
            return True
        case _:
            return False


if __name__ == "__main__":
    sys.exit(main())
