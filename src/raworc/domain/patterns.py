"""Patterns that users write, matched in linear time (RE2): no pattern and no text makes a match run away."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import re2  # pyright: ignore[reportMissingTypeStubs]  it ships none

from raworc.domain.text import storable_text

MAX_CHARACTERS: Final = 1000
STRUCK: Final = "[redacted]"
NOT_SEARCHED: Final = "[redacted: there was too much to strike out]"
_MEMORY_BYTES: Final = 1_048_576
_BUDGET_S: Final = 2.0  # for all places in one text: each match is linear, a million of them need not be
_LOOK_EVERY: Final = 256
_SHOWN_CHARACTERS: Final = 200
_OF_A_WORD: Final = r"\p{Lu}\p{Ll}\p{Lt}\p{N}_"

_engine = cast("Any", re2)


class BadPattern(ValueError):
    """No pattern; the message says why."""


@dataclass(frozen=True)
class Pattern:
    """A compiled pattern in RE2's syntax."""

    source: str
    _compiled: Any

    @classmethod
    def of(cls, source: object) -> "Pattern":
        """Compile it.

        Raises:
            BadPattern: not a text, empty, too long, or not RE2's syntax (which has no look-around).
        """
        if not isinstance(source, str) or not source:
            raise BadPattern("it has no 'pattern'")
        if len(source) > MAX_CHARACTERS:
            raise BadPattern(f"its pattern is longer than {MAX_CHARACTERS} characters")
        return cls(source, _compiled(source))

    @classmethod
    def of_words(cls, words: Sequence[str]) -> "Pattern":
        """One that matches where one of these words, or groups of words, stands, whatever the case of its letters.

        Inside a longer word it does not stand; in scripts that know no capitals, which may not part words, it does.

        Raises:
            BadPattern: too many of them, or too long ones.
        """
        source = f"(?i){_standing(words)}"
        return cls(source, _compiled(source))

    def is_in(self, text: str) -> bool:
        """Whether it matches somewhere."""
        return self._compiled.search(storable_text(text)) is not None

    def struck(self, text: str) -> str:
        """The text with every match replaced; all of it when there are too many matches to go through."""
        text, pieces, end = storable_text(text), list[str](), 0
        latest = time.monotonic() + _BUDGET_S
        for number, match in enumerate(self._compiled.finditer(text)):
            if number % _LOOK_EVERY == 0 and time.monotonic() > latest:
                return NOT_SEARCHED
            if match.end() > match.start():
                pieces += (text[end : match.start()], STRUCK)
                end = match.end()
        return "".join([*pieces, text[end:]])


def _compiled(source: str) -> Any:  # noqa: ANN401  the library has no types
    options = _engine.Options()
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    options.never_capture = True
    try:
        return _engine.compile(storable_text(source), options)
    except _engine.error as error:
        raise BadPattern(f"its pattern cannot be read: {_said(error)}") from None


def _standing(words: Sequence[str]) -> str:
    """Where any of ``words`` stands. What surrounds them is written once for all alike: it makes patterns large."""
    alike: dict[tuple[str, str], list[str]] = {}
    for word in words:
        before = f"(?:^|[^{_OF_A_WORD}])" if _parts_words(word.strip()[0]) else ""
        after = f"(?:$|[^{_OF_A_WORD}])" if _parts_words(word.strip()[-1]) else ""
        alike.setdefault((before, after), []).append(r"\s+".join(_engine.escape(part) for part in word.split()))
    return "|".join(f"{before}(?:{'|'.join(group)}){after}" for (before, after), group in alike.items())


def _parts_words(character: str) -> bool:
    return character.isnumeric() or character.lower() != character.upper()


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
