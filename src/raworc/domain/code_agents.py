"""What may be asked of an agent of the contract spaces: code of a repository."""

from dataclasses import dataclass
from typing import Any, Final

from raworc.domain.builds import check_branch, check_repo
from raworc.domain.names import SPACE_PATTERN, is_space_name
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, FieldError

NAME_PATTERN: Final = SPACE_PATTERN
MAX_TEXT: Final = 4000
_RESERVED: Final = frozenset({"running"})
"""What stands where a name does in the contract's paths."""


@dataclass(frozen=True)
class CodeAgent:
    """A code agent as it is given; of a change, None keeps."""

    name: str | None = None
    description: str | None = None
    purpose: str | None = None
    source_repo: str | None = None
    source_branch: str | None = None


def checked(given: CodeAgent, *, files: bool) -> dict[str, Any]:
    """The columns of what is given. ``files``: repositories may be folders of the server's machine.

    Raises:
        BadRequest: a field outside its rules.
    """
    values: dict[str, Any] = {}
    if given.name is not None:
        values["name"] = _name(given.name)
    for field in ("description", "purpose"):
        if (text := getattr(given, field)) is not None:
            values[field] = _text(field, text)
    if given.source_repo is not None:
        values["source_repo"] = check_repo(given.source_repo, files=files)
    if given.source_branch is not None:
        values["source_branch"] = check_branch(given.source_branch)
    return values


def is_active(status: str) -> bool:
    """What the word says.

    Raises:
        BadRequest: it is none.
    """
    if status not in {"active", "inactive"}:
        raise _refused("status", "must be 'active' or 'inactive'")
    return status == "active"


def _name(name: str) -> str:
    if name.lower() in _RESERVED:
        raise _refused("name", f"must not be '{name}', which has a meaning in paths")
    if not is_space_name(name):
        raise _refused("name", "must be 1 to 63 letters, digits, hyphens and underscores, a letter or digit first")
    return name


def _text(field: str, text: str) -> str:
    if len(text) > MAX_TEXT:
        raise _refused(field, f"may have {MAX_TEXT} characters at most")
    return storable_text(text)


def _refused(field: str, reason: str) -> BadRequest:
    return BadRequest(f"'{field}' {reason}", details=(FieldError(field, reason),))
