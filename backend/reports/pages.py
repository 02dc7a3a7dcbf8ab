"""Pages of long lists, by key: `after` is where the last page ended, so rows that come meanwhile are neither skipped nor shown twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

MAX_PAGE = 200
"""Rows of one page: an answer of some hundred kilobytes at most."""
DEFAULT_PAGE = 50
MAX_CURSOR = 120

Row = TypeVar("Row")


class Page(NamedTuple, Generic[Row]):
    """Rows, and the cursor of the next page (None: these were the last)."""

    items: list[Row]
    next: str | None


def page_of(rows: Sequence[Row], limit: int, cursor: Callable[[Row], str]) -> Page[Row]:
    """A page from `limit + 1` rows that were asked for: the one too many says that there are more."""
    items = list(rows[:limit])
    return Page(items, cursor(items[-1]) if len(rows) > limit else None)


def all_pages(read: Callable[[str | None], Page[Row]]) -> Iterator[Row]:
    """Every row, page by page: an export never holds more than one page."""
    after: str | None = None
    while True:
        page = read(after)
        yield from page.items
        if page.next is None:
            return
        after = page.next
