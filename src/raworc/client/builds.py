"""Builds of spaces, which make code agents of repositories: ``client.builds``."""

import time
from collections.abc import Iterator
from typing import Final

from raworc.client.space_shapes import Build
from raworc.client.spaces import ROOT
from raworc.client.transport import Transport, segment

_LOOK_S: Final = 0.5


class Builds:
    """Builds of one space after another."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def start(self, space: str) -> Build:
        """Have a space built; the build that waits already, where there is one."""
        return self._transport.call("POST", _path(space), Build)

    def latest(self, space: str) -> Build:
        """The one that was asked for last. Raises NotFound where there was none."""
        return self._transport.get(f"{_path(space)}/latest", Build)

    def get(self, space: str, build_id: str) -> Build:
        """One of them."""
        return self._transport.get(f"{_path(space)}/{segment(build_id)}", Build)

    def follow(self, space: str, build: Build) -> Iterator[Build]:
        """The build as it is, and again whenever it has changed, until it has ended."""
        shown: Build | None = None
        while shown is None or not shown.is_settled:
            found = build if shown is None else self.get(space, build.id)
            if found != shown:
                yield found
                shown = found
            else:
                time.sleep(_LOOK_S)


def _path(space: str) -> str:
    return f"{ROOT}/spaces/{segment(space)}/build"
