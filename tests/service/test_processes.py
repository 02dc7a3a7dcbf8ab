"""Programs as programs: one process on SQLite, several on PostgreSQL, a clean stop with streams open, help without delay."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.control import Cause, SupplyState
from protocol.evidence import Reason
from tests.service.bench_agent import BenchAgent
from tests.service.postgres import Cluster
from tests.service.world import ENVIRONMENT, ROOT, Program, World, eventually, free_port

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]  # starts a chain and the programs, several times


@pytest.fixture(scope="module")
def own_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(Path(tmp_path_factory.mktemp("processes")))
    try:
        made.start_chain()
        made.deploy()
        yield made
    finally:
        made.stop()


def test_a_second_process_on_sqlite_refuses_to_start_and_says_why(own_world: World) -> None:
    own_world.start_service()
    assert own_world.service is not None
    second = own_world.home / "second.toml"
    second.write_text((own_world.home / "service.toml").read_text().replace(str(own_world.port), str(free_port())))
    done = subprocess.run(
        [sys.executable, "-m", "backend", "serve", "--config", str(second)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"pid {own_world.service.process.pid}" in done.stderr
    assert "PostgreSQL" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_stops_within_seconds_while_a_stream_is_open(own_world: World) -> None:
    agent = BenchAgent(own_world)
    agent.enrol(on_chain=False)
    agent.connect()
    assert own_world.service is not None
    started = time.monotonic()
    assert own_world.service.stop() in (0, -15)
    assert time.monotonic() - started < 8
    agent.close()


def test_help_teaches_and_does_not_load_the_chain() -> None:
    script = "import sys; import backend.__main__; assert 'web3' not in sys.modules and 'sqlalchemy' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=ENVIRONMENT, check=True, timeout=30)
    shown = subprocess.run(
        [sys.executable, "-m", "backend", "--help"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    for command in ("init", "serve", "migrate", "backup", "restore"):
        assert command in shown.stdout


def test_a_setting_that_is_wrong_is_named(own_world: World) -> None:
    config = own_world.home / "wrong.toml"
    config.write_text('listen = "127.0.0.1:8400"\n[chain]\nconfirmations = "many"\n')
    done = subprocess.run(
        [sys.executable, "-m", "backend", "serve", "--config", str(config)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "chain.confirmations" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.needs_postgres
def test_two_processes_on_postgres_share_the_work_and_one_survives_the_other(own_world: World, postgres: Cluster) -> None:
    world = own_world
    world.settings[""] = {"database_url": postgres.empty(), "log_format": "json"}
    world.start_service()
    first, first_url = world.service, world.url
    assert first is not None
    agent = BenchAgent(world)
    point = agent.enrol()
    agent.vouch()
    agent.connect()  # the stream is with the first process …
    world.start_service()
    assert world.url != first_url
    session = world.payer.open(world.payer.quote(point, 50_000), 50_000)  # … the payer with the second
    session.reaches("running")
    agent.send(agent.frame(agent.record(Reason.START)))
    agent.send(agent.frame(agent.record(rise=1_000)))
    first.kill()
    time.sleep(1)  # the charge's elapsed time must have passed on the chain
    agent.send(agent.frame(agent.record(rise=1_000)))
    agent.send(agent.frame(agent.record(Reason.STOP)))
    agent.supply = SupplyState.DISCONNECTED
    agent.confirm(cause=Cause.LOAD_FINISHED)
    view = session.reaches("settled", 60)  # its loops, taken over
    assert view["claimedMicro"] == view["chargeMicro"] == view["billMicro"] > 0
    assert view["tailMicro"] == 0
    agent.close()


def test_the_program_survives_a_chain_that_is_away(own_world: World, tmp_path: Path) -> None:
    own_world.settings[""] = {"log_format": "json"}
    own_world.write_settings()
    config = own_world.home / "away.toml"
    port = free_port()
    text = (own_world.home / "service.toml").read_text().replace(own_world.rpc_url, f"http://127.0.0.1:{free_port()}")
    config.write_text(text.replace(f'listen = "127.0.0.1:{own_world.port}"', f'listen = "127.0.0.1:{port}"'))
    program = Program(tmp_path / "away.log", "backend", "serve", "--config", str(config))
    try:
        import httpx2

        def answer() -> dict[str, object] | None:
            try:
                return dict(httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=10).json())
            except httpx2.HTTPError:
                return None

        said = eventually("an answer", answer)
        assert not said["ready"]
        failing = {check["name"] for check in said["checks"] if not check["ok"]}
        assert {"chain", "contracts"} <= failing
        assert "database" not in failing
        assert httpx2.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
    finally:
        program.kill()
