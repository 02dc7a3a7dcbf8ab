from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.point import AgentPoint


@pytest.fixture
def make_point(tmp_path: Path) -> Iterator[Callable[..., AgentPoint]]:
    """Makes points (rig, agent, desk) that end with the test; a failing test shows the agent's own log."""
    points: list[AgentPoint] = []

    def make(**options: Any) -> AgentPoint:
        directory = tmp_path / f"point-{len(points)}"
        directory.mkdir()
        points.append(AgentPoint(directory, **options))
        return points[-1]

    yield make
    for point in points:
        point.close()
        print(point.agent_log())
