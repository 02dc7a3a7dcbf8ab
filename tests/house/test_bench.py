"""`./scripts/bench`: one cheap group runs, and what it writes has the shape that was promised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.__main__ import GROUPS

ROOT = Path(__file__).parents[2]
FIELDS = {"id": str, "value": float, "unit": str, "reference": float, "ratio": float, "goal": str, "met": bool, "how": str}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'hardhat-free-devnet'}", "PATH": "/usr/bin:/bin", "COLUMNS": "120"},
    )  # fmt: skip


def test_a_group_writes_figures_of_the_promised_shape(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = bench("--only", "agent_frames", "--json", str(file))
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_text())
    assert document.keys() == {"machine", "figures"}
    assert document["machine"].keys() >= {"cpu", "cores", "python"}
    assert [figure["id"] for figure in document["figures"]] == ["agent_frames_per_second"]
    for figure in document["figures"]:
        assert figure.keys() == FIELDS.keys()
        for name, kind in FIELDS.items():
            assert isinstance(figure[name], (float, int) if kind is float else kind), name
        assert figure["value"] > 0
        assert abs(figure["ratio"] - figure["value"] / figure["reference"]) < 0.001
        assert "record" in figure["how"]


def test_an_unknown_group_is_named() -> None:
    done = bench("--only", "nonsense")
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert all(name in done.stderr for name in GROUPS)
