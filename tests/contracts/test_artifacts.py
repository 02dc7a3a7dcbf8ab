"""The committed artifacts are those of the committed sources, by hash. (.ci/run compiles them again and compares bytes.)"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.support import ROOT

ARTIFACTS = ROOT / "chain" / "artifacts"


def contracts(*arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / "contracts"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_check_passes_without_a_compiler() -> None:
    done = contracts("check")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "artifacts and sources are what the manifests say"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What `check` reads, in a place where it may be spoiled."""
    for part in ("scripts/contracts", "contracts/src", "contracts/test/doubles", "chain/artifacts", "tests/contracts/artifacts"):
        source, target = ROOT / part, tmp_path / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return tmp_path


def test_check_names_what_was_spoiled(copy: Path) -> None:
    assert contracts("check", root=copy).returncode == 0
    spoilt = {
        "contracts/src/AnchorLog.sol": "contracts/src/AnchorLog.sol is not what was built",
        "chain/artifacts/EnergyEscrow.json": "EnergyEscrow.json is not what the manifest says",
        "contracts/test/doubles/TrickyToken.sol": "contracts/test/doubles/TrickyToken.sol is not what was built",
    }
    for name, message in spoilt.items():
        path = copy / name
        before = path.read_bytes()
        path.write_bytes(before + b"\n")
        done = contracts("check", root=copy)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        path.write_bytes(before)
    (copy / "contracts/src/New.sol").write_text("")
    assert "contracts/src/New.sol is not what was built" in contracts("check", root=copy).stderr
    (copy / "contracts/src/New.sol").unlink()
    (copy / "chain/artifacts/AnchorLog.json").unlink()
    assert "has other files than its manifest" in contracts("check", root=copy).stderr


def test_no_artifact_names_the_place_it_was_built_in() -> None:
    for path in ARTIFACTS.glob("*.json"):
        assert "/home/" not in path.read_text()
        assert str(ROOT) not in path.read_text()


def test_immutables_are_named_and_empty() -> None:
    """What a service that starts compares with the chain: the code but for these places."""
    escrow = json.loads((ARTIFACTS / "EnergyEscrow.json").read_text())
    code = bytes.fromhex(escrow["deployedBytecode"][2:])
    assert escrow["immutableReferences"], "token, guardian and domain stand in the code"
    for place in escrow["immutableReferences"]:
        assert code[place["start"] : place["start"] + place["length"]] == bytes(place["length"])
