"""forge: fuzz and invariants on the shipped bytes, and the vectors read by Solidity.

The same by hand, from contracts/: npm install && node_modules/.bin/forge test   (FOUNDRY_PROFILE=long for a long run)
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.contracts.support import ROOT

CONTRACTS = ROOT / "contracts"
FORGE = CONTRACTS / "node_modules" / ".bin" / "forge"
MISSING = "forge is not installed: npm install in contracts/ (needs Node.js)"


@pytest.mark.needs_foundry
@pytest.mark.slow
@pytest.mark.timeout(420)
def test_fuzz_invariants_and_vectors() -> None:
    if not FORGE.exists() or shutil.which("node") is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    done = subprocess.run([str(FORGE), "test"], cwd=CONTRACTS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
