"""What Tab offers at the shell: commands and their options, agents' names, and the paths of the served document."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from typer.core import TyperGroup
from typer.main import get_command

from raworc.cli.api import METHODS
from raworc.cli.connection import access, connected
from raworc.cli.main import COMMANDS, application
from raworc.cli.stop import Stop
from raworc.client.errors import ClientError
from raworc.settings import read_client_settings

_OWN = ("help", "quit")
_ABOUT_AGENTS = {"agents": 2, "ask": 1, "chat": 1}
"""Command -> which of the words behind it is an agent's name."""
_MEMORY_S = 5.0
_MOST = 100
_TIMEOUT_S = 5.0
PREFIX = "/api/v0/"


class Served:
    """What the server has to offer. A server that cannot be asked has nothing; that is no error here."""

    def __init__(self) -> None:
        self._paths: tuple[str, ...] | None = None
        self._names: dict[str, tuple[float, tuple[str, ...]]] = {}

    def paths(self) -> tuple[str, ...]:
        """The document's paths below ``/api/v0/``, with their parameters in braces."""
        if self._paths is None:
            try:
                self._paths = _document_paths()
            except (Stop, ClientError, ValueError):
                return ()
        return self._paths

    def names(self, prefix: str) -> tuple[str, ...]:
        """Agents whose names begin so, ignoring case; remembered for some seconds."""
        until, names = self._names.get(prefix, (0.0, ()))
        if time.monotonic() > until:
            names = _agents(prefix)
            self._names = {prefix: (time.monotonic() + _MEMORY_S, names)}
        return names


class ShellCompleter(Completer):
    """Completes the word before the cursor."""

    def __init__(self) -> None:
        self._served = Served()

    def get_completions(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002  the interface names it
    ) -> Iterable[Completion]:
        """Every word that may stand here."""
        *before, current = document.text_before_cursor.lstrip().split(" ")
        words = [word for word in before if word]
        slash = "/" if current.startswith("/") else ""
        match [words[0].removeprefix("/"), *words[1:]] if words else []:
            case []:
                yield from _matching(current, [slash + name for name in (*COMMANDS, *_OWN)])
            case ["help"]:
                yield from _matching(current, COMMANDS)
            case ["api", *rest] if not current.startswith("-"):
                yield from self._request(rest, current)
            case [name, *rest] if name in COMMANDS:
                yield from self._argument(name, rest, current)
            case _:
                return

    def _request(self, words: Sequence[str], current: str) -> Iterator[Completion]:
        if not words:
            yield from _matching(current.upper(), METHODS, typed=current)
        if not words or (len(words) == 1 and words[0].upper() in METHODS):
            yield from self._path(current)

    def _path(self, current: str) -> Iterator[Completion]:
        """The segment before the cursor: what the document has there, and agents' names for a ``{name}`` of theirs."""
        *above, last = current.removeprefix(PREFIX).removeprefix("/").split("/")
        found: set[str] = set()
        for path in self._served.paths():
            parts = path.split("/")
            if len(parts) <= len(above) or not all(map(_fits, parts, above)):
                continue
            if not parts[len(above)].startswith("{"):
                found.add(parts[len(above)])
            elif above == ["agents"]:
                found |= set(self._served.names(last))
        yield from _matching(last, sorted(found))

    def _argument(self, name: str, words: Sequence[str], current: str) -> Iterator[Completion]:
        tree = get_command(application([name]))
        for word in (name, *words):
            tree = tree.commands.get(word, tree) if isinstance(tree, TyperGroup) else tree
        if current.startswith("-"):
            options = [option for item in tree.params for option in item.opts if option.startswith("--")]
            yield from _matching(current, [*options, "--help"])
        elif not words and isinstance(tree, TyperGroup):
            yield from _matching(current, tree.commands)
        elif len(words) + 1 == _ABOUT_AGENTS.get(name):
            yield from _matching(current, self._served.names(current))


def _fits(template: str, word: str) -> bool:
    return template == word or (template.startswith("{") and bool(word))


def _matching(start: str, offers: Iterable[str], *, typed: str | None = None) -> Iterator[Completion]:
    for offer in offers:
        if offer.lower().startswith(start.lower()):
            yield Completion(offer, start_position=-len(start if typed is None else typed))


def _document_paths() -> tuple[str, ...]:
    contract = read_client_settings().contract
    document = f"/api-docs/{contract}/openapi.json"
    with access().client(timeout_s=_TIMEOUT_S) as client, client.raw("GET", document) as answer:
        paths = json.loads(answer.read()).get("paths", {})
    plain = [path.removeprefix(f"/{contract}") for path in paths]
    return tuple(path.removeprefix(PREFIX) for path in plain if path.startswith(PREFIX))


def _agents(prefix: str) -> tuple[str, ...]:
    try:
        with connected() as client:
            page = client.agents.page(q=prefix, limit=_MOST)
    except Stop:
        return ()
    return tuple(agent.name for agent in page.items if agent.name.lower().startswith(prefix.lower()))
