"""One measured figure: a value beside its reference from the same run, and whether its goal was met."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """`ratio` is value / reference. `goal` is in words; `how` states records per frame, frames per request, commits."""

    id: str
    value: float
    unit: str
    reference: float
    ratio: float
    goal: str
    met: bool
    how: str

    def document(self) -> dict[str, Any]:
        return asdict(self)


def figure(id: str, value: float, unit: str, reference: float, goal: str, met: bool, how: str) -> Figure:
    """A figure with its ratio filled in."""
    return Figure(id, round(value, 4), unit, round(reference, 4), round(value / reference, 4) if reference else 0.0, goal, met, how)


def best_rate(work: Callable[[], int], rounds: int = 40) -> float:
    """Units of work a second: the best of `rounds`, because every disturbance only slows down."""
    best = 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        count = work()
        best = max(best, count / (time.perf_counter() - started))
    return best
