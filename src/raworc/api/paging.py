"""Lists of the contract organizations: bare, or one page of them where `page` or `limit` is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.responses import Response

from raworc.api.queries import PageNumber, PageSize
from raworc.api.render import Json

MOST: Final = 1000
_PER_PAGE: Final = 20
_FURTHEST: Final = 2**53


@dataclass(frozen=True)
class Paging:
    """What was asked for. Without a page it is all of a list, of at most ``MOST``."""

    page: PageNumber | None = None
    limit: PageSize | None = None

    @property
    def is_asked(self) -> bool:
        """Whether one page is to be shown."""
        return self.page is not None or self.limit is not None

    @property
    def size(self) -> int:
        """How many rows to read."""
        return (self.limit or _PER_PAGE) if self.is_asked else MOST

    @property
    def offset(self) -> int:
        """How many rows to skip."""
        return min(((self.page or 1) - 1) * self.size, _FURTHEST)

    def shown(self, items: Sequence[dict[str, Any]], total: int) -> Response:
        """The rows that were read; ``total`` is that of all pages, and not told of a bare list."""
        if not self.is_asked:
            return Json(items)
        page = {"items": items, "total": total, "page": self.page or 1, "per_page": self.size}
        return Json({**page, "has_more": self.offset + len(items) < total})


Paged = Annotated[Paging, Depends()]
