"""Where an agent's code comes from, and what may be asked of a build."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

from raworc.domain.text import is_plain
from raworc.errors import BadRequest, FieldError

BuildStatus = Literal["pending", "building", "completed", "failed"]

BUILD_PREFIX: Final = "build-"
LOG_HALF: Final = 131_072
"""Characters of a log that are kept of its beginning, and of its end."""
MAX_DEATHS: Final = 2
"""Times that a build may be begun in vain (its holder died, or broke) before it is given up."""

MAX_REPO_CHARACTERS: Final = 2000
BRANCH_PATTERN: Final = r"^[A-Za-z0-9_][A-Za-z0-9_./+-]{0,254}$"
_BRANCH: Final = re.compile(BRANCH_PATTERN.strip("^$"), re.ASCII)
_SHORT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}/[A-Za-z0-9_.-]{1,100}", re.ASCII)
_SSH: Final = re.compile(r"(?:ssh://)?[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+[:/][^\s:]+", re.ASCII)
_WISH: Final = "must be 'owner/name', an https or ssh address, or file:///path where the server allows that"


@dataclass(frozen=True)
class Origin:
    """A repository: the address that git is given, and the host it lies on (None: a folder of this machine)."""

    url: str
    host: str | None
    port: int = 443
    folder: str | None = None


def check_repo(repo: str, *, files: bool) -> str:
    """``repo`` itself. ``files``: folders of the server's machine may be named.

    Raises:
        BadRequest: it names no repository, holds a password, or may not be used.
    """
    if len(repo) > MAX_REPO_CHARACTERS or not is_plain(repo):
        raise _refused("source_repo", f"may have {MAX_REPO_CHARACTERS} characters at most")
    if _SHORT.fullmatch(repo) and not repo.endswith("/.."):
        return repo
    parts = _split(repo)
    if parts is not None and parts.scheme == "https" and parts.hostname and parts.path.strip("/"):
        if parts.username is not None or parts.password is not None:
            raise _refused("source_repo", "must hold no user and no password: everybody of the space could read it")
        return repo
    if parts is not None and parts.scheme == "file" and not parts.netloc and _is_clean(parts.path):
        if not files:
            raise _refused("source_repo", "may be no file:// address here: see RAWORC_ALLOW_FILE_REPOS")
        return repo
    if _SSH.fullmatch(repo):
        return repo
    raise _refused("source_repo", _WISH)


def check_branch(branch: str) -> str:
    """``branch`` itself.

    Raises:
        BadRequest: git knows no such name.
    """
    if not _BRANCH.fullmatch(branch) or ".." in branch or "//" in branch or branch.endswith(("/", ".", ".lock")):
        raise _refused("source_branch", "must be the name of a branch or tag")
    return branch


def origin_of(repo: str, base: str) -> Origin | None:
    """Where to clone from; None where it takes a key (ssh), which builds do not have. ``base``: of ``owner/name``."""
    address = f"{base.rstrip('/')}/{repo}" if _SHORT.fullmatch(repo) else repo
    parts = _split(address)
    if parts is None or parts.scheme not in {"https", "http", "file"}:
        return None
    if parts.scheme == "file":
        return Origin(address, None, folder=parts.path)
    return Origin(address, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))


def _split(address: str) -> SplitResult | None:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    return parts if address.isprintable() and " " not in address else None


def _is_clean(path: str) -> bool:
    return path.startswith("/") and ".." not in PurePosixPath(path).parts


def _refused(field: str, reason: str) -> BadRequest:
    return BadRequest(f"'{field}' {reason}", details=(FieldError(field, reason),))
