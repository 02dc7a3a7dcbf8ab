"""The command: exit codes as documented, no network, never a stack trace, nothing foreign written to the terminal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from auditor.report import CHAIN_CHECKS, CHECKS, PERIOD_CHECKS, Kind
from protocol import packed
from protocol.bundle import bundle_document, encode_bundle

from .make_bundle import Evidence

ROOT = Path(__file__).parents[2]
SCENE = Evidence(records=6)
GOOD = bundle_document(SCENE.bundle())
HEADS = [part for head in SCENE.heads().heads for part in ("--head", "0x" + head.hex())]

NO_NETWORK = """
import runpy, sys
def refuse(event, arguments):
    if event.startswith("socket."):
        raise RuntimeError("the network was used: " + event)
sys.addaudithook(refuse)
sys.argv[0] = "auditor"
runpy.run_module("auditor", run_name="__main__", alter_sys=True)
"""


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-c", NO_NETWORK, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60,
                          check=False, env=environment)  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def written(folder: Path, document: dict[str, Any]) -> str:
    path = folder / "bill.wattproof"
    path.write_bytes(packed.pack(document))
    return str(path)


def test_verify_works_without_a_network(tmp_path: Path) -> None:
    large = tmp_path / "large.wattproof"  # several slices, so that several processes work
    scene = Evidence(records=1_500, real_trees=False)
    large.write_bytes(encode_bundle(scene.bundle()))
    heads = [part for head in scene.heads().heads for part in ("--head", "0x" + head.hex())]
    done = run("verify", str(large), *heads, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "pass"
    assert report["notChecked"] == ["chain-facts"]
    period = run("verify-meter", str(large), "--json")
    assert (period.returncode, json.loads(period.stdout)["verdict"]) == (0, "pass")


def changes() -> list[tuple[Kind, dict[str, Any]]]:
    def changed(**fields: Any) -> dict[str, Any]:
        return {**GOOD, **fields}

    frames = GOOD["frames"]
    record = {**frames[2]["frame"]["records"][0], "flags": 1}
    altered = [*frames[:2], {**frames[2], "frame": {**frames[2]["frame"], "records": [record]}}, *frames[3:]]
    wrong_path = [{**frames[0], "path": frames[0]["path"][1:]}, *frames[1:]]
    return [
        (Kind.FORM, changed(version=2)),
        (Kind.RECORDS, changed(frames=altered)),
        (Kind.COMPLETENESS, changed(frames=[*frames[:2], *frames[3:]])),
        (Kind.ANCHORING, changed(frames=wrong_path)),
        (Kind.KEYS, changed(voucher=None)),
        (Kind.BILL, changed(tariff={**GOOD["tariff"], "version": 7})),
        (Kind.MONEY, changed(claimedMicro=GOOD["claimedMicro"] + 1)),
        (Kind.ATTACHED, changed(ocmf=[{**GOOD["ocmf"][0], "text": "OCMF|{}|{}"}])),
    ]


@pytest.mark.parametrize(("kind", "document"), changes(), ids=[kind.name.lower() for kind, _ in changes()])
def test_the_exit_code_says_which_kind_failed(kind: Kind, document: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path, document)
    done = run("verify", path, *HEADS)
    assert done.returncode == kind
    assert "FAIL" in done.stdout
    assert json.loads(run("verify", path, "--json").stdout)["exitCode"] == kind


def test_files_that_are_no_bundles(tmp_path: Path) -> None:
    for name, raw in (("empty", b""), ("junk", b"\x00\xff" * 500), ("array", b"[1]"), ("cut", encode_bundle(SCENE.bundle())[:-9])):
        path = tmp_path / name
        path.write_bytes(raw)
        done = run("verify", str(path))
        assert done.returncode == Kind.FORM
        assert "✘ FAIL" in done.stdout
    for arguments in (["verify", str(tmp_path / "nowhere")], ["verify", str(tmp_path)], ["verify"], ["verify", "x", "--head", "0x12"],
                      ["verify", str(tmp_path / "junk"), "--trust", str(tmp_path / "junk")]):  # fmt: skip
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stderr


def test_foreign_text_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    evil = {**GOOD, "tail": {"name": "\x1b[2Jgone[bold]\u202e" + "x" * 5_000, "amountMicro": 3}, "tariff": {"\x1b[31mred": 1}}
    done = run("verify", written(tmp_path, evil))
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 500
    plain = run("verify", written(tmp_path, GOOD), environment={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"})
    assert plain.returncode == 0


def test_a_bomb_is_refused_quickly(tmp_path: Path) -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    path = tmp_path / "bomb"
    block = b" " * (1 << 20)
    path.write_bytes(squeeze.compress(b"{") + b"".join(squeeze.compress(block) for _ in range(300)) + squeeze.flush())
    done = run("verify", str(path))
    assert done.returncode == Kind.FORM
    assert "unpacks to more than" in done.stdout.replace("\n", " ")


def test_the_table_of_exit_codes_is_complete() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]*) \| ([^|]*) \|$", (ROOT / "docs/auditor.md").read_text(), re.MULTILINE)
    documented = {int(code): set(re.findall(r"`([a-z-]+)`", names)) - {"sync"} for code, _, names in rows}
    for kind in Kind:
        names = {name for table in (CHECKS, CHAIN_CHECKS, PERIOD_CHECKS) for name, known in table.items() if known.kind is kind}
        assert documented[kind] == names, kind


def test_help_is_quick_and_knows_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in ("verify", "verify-meter", "compare-chain", "sync"):
        assert name in done.stdout
        assert run(name, "--help").returncode == 0
