"""How long to wait before the next attempt: pauses that double up to a limit, each shortened by chance.

By chance, because all agents of a service lose it in the same moment: without it they would all come back in the same
moment too, again and again.
"""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_S = 0.5
MOST_S = 30.0
"""A service that is back is found again within this."""


class Backoff:
    """Pauses of one connection or queue. `chance` gives a number in [0, 1)."""

    def __init__(self, *, most_s: float = MOST_S, chance: Callable[[], float] = random.random) -> None:
        self._most_s, self._chance = most_s, chance
        self._pause_s = FIRST_S

    def reset(self) -> None:
        """It went well for a while: the next pause is the first again."""
        self._pause_s = FIRST_S

    def next_s(self) -> float:
        """Seconds to wait now: between half of the pause and the whole of it."""
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, self._most_s)
        return pause_s * (1 + self._chance()) / 2
