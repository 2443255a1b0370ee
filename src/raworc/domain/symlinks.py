"""Whether symbolic links of a tree of files stay inside it, whatever they are followed through."""

from collections.abc import Mapping
from typing import Final

_MOST_STEPS: Final = 1000


def leading_out(links: Mapping[str, str]) -> str | None:
    """A link that leads out of its tree, or in circles; None when all stay inside.

    ``links``: every link of the tree by its path from the root, with what it says.
    """
    return next((path for path, target in links.items() if not _stays(path, target, links)), None)


def _stays(path: str, target: str, links: Mapping[str, str]) -> bool:
    """Walk as the kernel does: ``..`` behind a link is above what the link leads to."""
    at = path.split("/")[:-1]
    ahead = target.split("/")[::-1]
    if target.startswith("/"):
        return False
    for _ in range(_MOST_STEPS):
        if not ahead:
            return True
        name = ahead.pop()
        if name == "..":
            if not at:
                return False
            at.pop()
        elif name not in {"", "."}:
            at.append(name)
            further = links.get("/".join(at))
            if further is not None:
                if further.startswith("/"):
                    return False
                at.pop()
                ahead += further.split("/")[::-1]
    return False
