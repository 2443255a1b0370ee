"""What was typed at the shell, as commands and their words.

A command goes on over several lines while a bracket of its JSON or a quote is open. The JSON of ``api`` is taken
as it stands, without quoting for a shell; everything else is quoted as there.
"""

import io
import shlex
from collections.abc import Iterable, Iterator

_CLOSING = {"{": "}", "[": "]"}


def commands_of(lines: Iterable[str]) -> Iterator[str]:
    """The commands in a row of lines; the last one may be incomplete. Empty lines and comments are left out."""
    pending: list[str] = []
    for line in lines:
        if not pending and (not line.strip() or line.lstrip().startswith("#")):
            continue
        pending.append(line)
        if is_complete("\n".join(pending)):
            yield "\n".join(pending)
            pending = []
    if pending:
        yield "\n".join(pending)


def is_complete(text: str) -> bool:
    """Whether every bracket and quote is closed."""
    try:
        words_of(text)
    except ValueError:
        return False
    return True


def words_of(text: str) -> list[str]:
    """A command's words, without a leading ``/`` or ``raworc``. Raises ValueError while it is incomplete."""
    source = io.StringIO(text.strip().removeprefix("raworc ").lstrip().removeprefix("/"))
    lexer = shlex.shlex(source, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    while True:
        if words and words[0] == "api":
            rest = _rest(source)
            if rest[:1] in _CLOSING:
                _check_closed(rest)
                return [*words, rest]
        word = lexer.get_token()
        if word is None:
            return words
        words.append(word)


def _rest(source: io.StringIO) -> str:
    """What follows, without moving on."""
    at = source.tell()
    rest = source.read().strip()
    source.seek(at)
    return rest


def _check_closed(json: str) -> None:
    """Raise ValueError while a bracket or a string of it is open; what else may be wrong is the parser's to say."""
    depth, in_string, is_escaped = 0, False, False
    for character in json:
        if is_escaped:
            is_escaped = False
        elif in_string:
            is_escaped, in_string = character == "\\", character != '"'
        elif character == '"':
            in_string = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
    if in_string or depth > 0:
        raise ValueError("a bracket or a string is open")
