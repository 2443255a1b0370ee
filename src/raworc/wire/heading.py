"""A request's headers, and what is made of them once for all requests of a connection that send the same. No I/O."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

Header = tuple[bytes, bytes]
T = TypeVar("T")
Given = ParamSpec("Given")

_LENGTH: Final = b"content-length"
_MOST_MADE: Final = 32


class Heading:
    """The headers of a request, with lower-case names, but for its length, in which those of one client mostly differ.

    ``listed`` has them as they came, ``named`` the last value of each.
    """

    def __init__(self, headers: Sequence[Header]) -> None:
        self.listed = [header for header in headers if header[0] != _LENGTH]
        self.named = dict(self.listed)
        self.length_at = next((at for at, (name, _) in enumerate(headers) if name == _LENGTH), None)
        self._whole = list(headers)
        self._made: dict[Hashable, Any] = {}
        self._last: dict[Hashable, tuple[tuple[object, ...], Any]] = {}

    def fits(self, headers: list[Header]) -> bool:
        """Whether these are the same in the same order, whatever the length is that they tell."""
        at, whole = self.length_at, self._whole
        if at is None:
            return headers == whole
        if len(headers) != len(whole) or headers[at][0] != _LENGTH:
            return False
        whole[at] = headers[at]
        return headers == whole

    def once(self, make: Callable[["Heading"], T]) -> T:
        """What ``make`` makes of it, which must depend on nothing else. What it raises is not remembered."""
        try:
            made: T = self._made[make]
        except KeyError:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            made = self._made[make] = make(self)
        return made

    def last(self, make: Callable[Concatenate["Heading", Given], T], *given: Given.args, **_none: Given.kwargs) -> T:
        """What ``make`` makes of it and of what is ``given``, as long as the same is given as the last time."""
        known = self._last.get(make)
        if known is None or known[0] != given:
            known = self._last[make] = given, make(self, *given, **_none)
        made: T = known[1]
        return made
