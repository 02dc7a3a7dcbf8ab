"""Files of the wrong kind at the programs' command lines: a sentence naming the file, never a stack trace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PASSPHRASE = "a passphrase of the tests"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a file where a folder is wanted, a folder where a file is wanted, and a passphrase."""
    (tmp_path / "file").write_bytes(b"\xff\xfe not text")
    (tmp_path / "folder").mkdir()
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(PASSPHRASE)
    passphrase.chmod(0o600)
    return tmp_path


CASES = {
    "agent: state folder is a file": ("meter_agent init --state {}/file --passphrase-file {}/passphrase", "/file"),
    "service: its folder is a file": ("backend init --dir {}/file", "/file"),
    "service: OpenAPI into a folder that is not there": ("backend openapi --out {}/none/openapi.json", "/none/openapi.json"),
    "auditor: links are a folder": ("auditor sync {}/folder --rpc http://127.0.0.1:1", "/folder"),
    "bench: figures into a folder that is not there": ("tests.bench --only gas --json {}/none/figures.json", "--json"),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_kind_of_file(case: str, files: Path) -> None:
    command, named = CASES[case]
    done = subprocess.run(
        [sys.executable, "-m", *command.replace("{}", str(files)).split()], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=100,
    )  # fmt: skip
    assert done.returncode in (1, 2), done
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert "Errno" not in done.stderr
    assert "rror" in done.stderr or done.stderr.startswith(("agent: ", "auditor: "))
