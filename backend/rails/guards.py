"""What fails for one row holds up that row alone: it says why, the others go on, and what failed is raised when all are done."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ..errors import LeaseLost, ServiceError
from ..providers.rail import RailAway

AWAY_IN_A_ROW = 3
"""A rail that did not answer for so many rows, one after the other, is taken to be away: each question may cost its whole time-out."""
HELD = "held up: "
T = TypeVar("T")


class Guard:
    """One step over many rows of any rails."""

    def __init__(self) -> None:
        self._first: ServiceError | None = None
        self._away: Counter[str] = Counter()

    def is_away(self, rail: str) -> bool:
        """Whether the rest of this rail's rows wait for the next round."""
        return self._away[rail] >= AWAY_IN_A_ROW

    @contextmanager
    def asking(self, rail: str, hold: Callable[[str], None]) -> Iterator[None]:
        """What is done for one row. If it fails, `hold` is told why, and this raises nothing but a lost lease."""
        try:
            yield
        except LeaseLost:
            raise
        except ServiceError as error:
            self._first = self._first or error
            self._away[rail] = self._away[rail] + 1 if isinstance(error, RailAway) else 0
            hold(f"{HELD}{error.detail}"[:300])
        else:
            self._away[rail] = 0

    def report(self) -> None:
        """Raises what failed first."""
        if self._first is not None:
            raise self._first


def held_last(rows: Iterable[T], why: Callable[[T], str]) -> list[T]:
    """In their order, but what was held up before comes last and in any order: no few of them keep the rest from being asked about."""
    return sorted(rows, key=lambda row: 1 + random.random() if why(row).startswith(HELD) else 0.0)  # noqa: S311  (nothing secret)
