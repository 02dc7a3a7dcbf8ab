"""The walls of the house: who imports whom, and that nothing outgrows a room."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ["protocol", "chain", "onsite", "meter_agent", "buyer_agent", "backend", "auditor", "hardhat-free-devnet"]
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60


def test_imports_point_one_way() -> None:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'hardhat-free-devnet'}", "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
    arguments = [sys.executable, "-c", command, "--no-cache"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_only_chain_imports_web3() -> None:
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] in ("chain",) or "wattproof_demo" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "web3" for name in names), f"{path} imports web3"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_fits_a_room_and_a_function_a_screen(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_MODULE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"
