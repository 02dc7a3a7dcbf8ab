"""The rig as a program: starting, stopping, restarting, being told, and refusing."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wattproof_rig.tell import TellError, tell

from meter_agent.line import open_meter
from tests.rig.process import ROOT, running, start


def _run(*arguments: str, module: str = "wattproof_rig") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "hardhat-free-devnet"), "TERM": "dumb", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, env=environment, timeout=20, check=False
    )


def test_help_teaches() -> None:
    said = _run("--help").stdout
    for word in ("meter", "relay", "kettle", "weld", "wattproof_rig.tell", "FILE.csv:COLUMN"):
        assert word in said


def test_it_leaves_only_the_registers_and_goes_on_from_them(tmp_path: Path) -> None:
    with running(tmp_path / "rig", "--profile", "full", "--closed", "--step", "1") as rig:
        link = rig.state / "meter"
        assert os.readlink(link) == json.loads((rig.state / "rig.json").read_text())["meter"]
        assert stat.S_IMODE((rig.state / "control").stat().st_mode) == 0o600
        rig.tell("swap_meter", serial="ABC123", import_milliwatt_hours=7_000_000)
        first = rig.tell("state")
        assert rig.stop() == 0
    assert sorted(path.name for path in (tmp_path / "rig").iterdir()) == ["lock", "registers.json"]
    with running(tmp_path / "rig", "--profile", "idle", "--step", "1") as rig:
        second = rig.tell("state")
        assert second["meter"]["serial"] == "ABC123"
        assert second["import_milliwatt_hours"] >= first["import_milliwatt_hours"]
        assert second["meter"]["import_milliwatt_hours"] >= first["meter"]["import_milliwatt_hours"] >= 7_000_000


def test_a_killed_rig_never_goes_back_behind_what_it_showed(tmp_path: Path) -> None:
    with running(tmp_path / "rig", "--profile", "full", "--closed", "--step", "1") as rig:
        shown = rig.tell("mark")["import_milliwatt_hours"]
        rig.stop(signal.SIGKILL)
    with running(tmp_path / "rig", "--profile", "idle", "--step", "1") as rig:
        assert rig.tell("state")["import_milliwatt_hours"] >= shown
        assert rig.stop(signal.SIGINT) == 0


def test_a_second_rig_on_the_same_directory_refuses(tmp_path: Path) -> None:
    with running(tmp_path / "rig", "--profile", "idle"):
        with pytest.raises(RuntimeError, match="another rig is running"):
            start(tmp_path / "rig")
        assert tell(tmp_path / "rig", "state")["ok"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--profile", "nothing"], "no profile 'nothing'"),
        (["--step", "3"], "--step is one of"),
        (["--fault", "explode"], "no command 'explode'"),
        (["--fault", "meter=sleepy"], "'mode' must be one of"),
    ],
)
def test_a_bad_option_is_a_sentence(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = _run("--state", str(tmp_path / "rig"), *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_deep_directory_gets_its_socket_elsewhere_and_faults_can_be_there_from_the_start(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with running(deep, "--closed", "--fault", "weld", "--fault", "leak=5000", "--fault", "meter=silent") as rig:
        assert rig.tell("state")["faults"] == ["weld", "leak", "meter=silent"]
        control = Path(json.loads((deep / "rig.json").read_text())["control"])
        assert rig.tell("clear")["faults"] == []
    assert not control.parent.exists()


@pytest.mark.parametrize(
    ("do", "arguments", "says"),
    [
        ("weld", {"on": "yes"}, "true or false"),
        ("leak", {"milliwatts": -1}, "whole number"),
        ("leak", {"milliwatts": True}, "whole number"),
        ("swap_meter", {"serial": "a b"}, "letters and digits"),
        ("load", {"profile": 3}, "profile's name"),
        ("load", {"profile": "nothing"}, "no profile"),
        ("weld", {"of": True}, "does not know 'of'"),
    ],
)
def test_a_bad_command_changes_nothing(rig_state: Path, do: str, arguments: dict[str, object], says: str) -> None:
    before = tell(rig_state, "state")["faults"]
    with pytest.raises(TellError, match=says):
        tell(rig_state, do, **arguments)
    assert tell(rig_state, "state")["faults"] == before


@pytest.mark.parametrize("line", [b"{}\n", b"\n", b"[" * 5000 + b"\n", b"\xff\xfe\n", b'{"do": 3}\n', b'"weld"\n'])
def test_rubbish_on_the_control_socket_is_answered(rig_state: Path, line: bytes) -> None:
    import socket

    control = json.loads((rig_state / "rig.json").read_text())["control"]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(control)
        connection.sendall(line)
        assert json.loads(connection.recv(65536))["ok"] is False


def test_tell_from_the_shell(rig_state: Path) -> None:
    done = _run(str(rig_state), "leak", "milliwatts=7000", module="wattproof_rig.tell")
    assert json.loads(done.stdout)["faults"] == ["leak"]
    assert tell(rig_state, "clear")["faults"] == []
    assert _run(str(rig_state / "none"), "state", module="wattproof_rig.tell").returncode == 1


def test_the_sellers_meter_counts_too_much_from_when_it_is_told_and_the_buyers_own_has_its_own_error(tmp_path: Path) -> None:
    with running(tmp_path / "rig", "--profile", "idle", "--closed", "--step", "1", "--own-meter", "-20000") as rig:
        rig.tell("load", milliwatts=3_600_000)
        before = rig.tell("scale", ppm=100_000)
        assert before["faults"] == ["scale"]
        time.sleep(1.5)
        after = rig.tell("state")
        true, seller, own = (
            after["import_milliwatt_hours"] - before["import_milliwatt_hours"],
            *(after[m]["import_milliwatt_hours"] - before[m]["import_milliwatt_hours"] for m in ("meter", "own_meter")),
        )
        assert abs(seller - true * 11 // 10) <= 2  # whole milliwatt-hours on either side
        assert abs(own - true * 98 // 100) <= 2
        meter, own_meter = (open_meter(str(rig.state / name), initial_baud=300) for name in ("meter", "own-meter"))
        assert json.loads((rig.state / "rig.json").read_text())["own-meter"] == os.readlink(rig.state / "own-meter")
        try:
            powers = meter.sample().power_milliwatts, own_meter.sample().power_milliwatts
            assert powers == (3_960_000, 3_528_000)
            assert own_meter.read().serial == "20000001"
        finally:
            meter.close()
            own_meter.close()
        assert rig.tell("clear")["faults"] == []
        assert rig.tell("state")["meter"]["import_milliwatt_hours"] >= after["meter"]["import_milliwatt_hours"]
        assert rig.tell("own_meter", ppm=5)["own_meter"]["error_ppm"] == 5


def test_errors_survive_a_restart_and_registers_do_not_leap(tmp_path: Path) -> None:
    options = ("--closed", "--step", "1", "--own-meter", "1000")
    with running(tmp_path / "rig", "--profile", "full", *options) as rig:
        time.sleep(0.3)
        rig.tell("scale", ppm=200_000)
        time.sleep(0.3)
        first = rig.tell("load", milliwatts=0)
        rig.stop(signal.SIGKILL)
    with running(tmp_path / "rig", "--profile", "idle", *options[1:]) as rig:
        second = rig.tell("state")
        for name in ("meter", "own_meter"):
            assert 0 <= second[name]["import_milliwatt_hours"] - first[name]["import_milliwatt_hours"] <= 5
        assert second["faults"] == ["scale"]


def test_without_a_meter_of_its_own_the_rig_says_how_to_have_one(rig_state: Path) -> None:
    with pytest.raises(TellError, match="--own-meter"):
        tell(rig_state, "own_meter", ppm=1)
    assert not (rig_state / "own-meter").exists()
