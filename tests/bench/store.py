"""store_records_*: POST /frames over HTTP to the service's own application, checked, priced, posted and synced before each answer.

The service runs in a process of its own (uvicorn, without loops), its meters are in running sessions, so every record is also judged,
priced and posted. `frame256` is an agent that catches up: 8 frames a request. `frame1` is live operation: each of four agents sends
one frame of one record a request. One request is one commit, synced (SQLite `synchronous=FULL`, PostgreSQL `fsync` on). The reference is
the same database doing nothing but bare synced commits of the same bytes, in the same run.
"""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import uvicorn

from backend.app import build
from backend.context import Service
from protocol.evidence import Reason, details_hash
from protocol.wire import encode_frame
from tests.service.bench_agent import Meter
from tests.service.inside import Inside
from tests.service.postgres import Cluster, find_binaries
from tests.service.world import free_port

from .figure import Figure, figure

DETAIL = (("1.8.0", b"0001234.567*kWh"),)
GOAL_RATE = 20_000
ROUNDS = 3
AGENTS = 4
CATCH_UP_FRAMES = 8
CATCH_UP_REQUESTS = 6  # a round
LIVE_REQUESTS = 40  # a round and agent
LOCK_MICRO = 1_000_000
AHEAD_S = 200_000
"""The service's clock runs ahead, so that records of a second each may be sent as fast as they are taken."""


class Agent:
    """A meter in a running session and the requests it will make."""

    def __init__(self, inside: Inside) -> None:
        self.meter = Meter()
        self.session = inside.session(self.meter, inside.enrol(self.meter), LOCK_MICRO).connect()

    def requests(self, count: int, frames: int, records: int) -> list[bytes]:
        """`count` request bodies of so many frames of so many records."""
        return [self._body(frames, records) for _ in range(count)]

    def _body(self, frames: int, records: int) -> bytes:
        made = []
        for _ in range(frames):
            chosen = [self.meter.record(Reason.PERIODIC, rise=1, power=3_600, details_hash=details_hash(DETAIL)) for _ in range(records)]
            signed = self.meter.frame(*chosen)._replace(details=(DETAIL,) * records)
            made.append(encode_frame(signed))
            self.meter.frames.clear()
        return b'{"frames":[' + b",".join(made) + b"]}"


def _serve(service: Service, port: int) -> None:
    uvicorn.run(build(service, with_loops=False), host="127.0.0.1", port=port, log_level="error", access_log=False)


@contextmanager
def _server(inside: Inside) -> Iterator[str]:
    """The service of `inside` in a process of its own; its address."""
    inside.service.db.engine.dispose()  # no connection may be shared with the child
    port = free_port()
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(inside.service, port), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx2.get(f"{url}/healthz")
                break
            except httpx2.HTTPError:
                if time.monotonic() > deadline or not process.is_alive():
                    raise RuntimeError("the service of the bench did not come up within 30 s") from None
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.join(10)


def _post(url: str, bodies: list[bytes], frames: int) -> None:
    with httpx2.Client(timeout=60) as client:
        for body in bodies:
            answer = client.post(f"{url}/api/v1/frames", content=body).json()
            if answer.get("accepted") != frames or answer["refused"] or not answer["receipts"]:
                raise RuntimeError(f"the service did not take everything: {str(answer)[:300]}")


def _rates(url: str, agents: list[Agent]) -> tuple[float, float, int]:
    """Records a second (catching up, live), best of the rounds, and the bytes of one catching-up request."""
    catching_up = live = 0.0
    size = 0
    for _ in range(ROUNDS):
        bodies = agents[0].requests(CATCH_UP_REQUESTS, CATCH_UP_FRAMES, 256)
        size = len(bodies[0])
        started = time.perf_counter()
        _post(url, bodies, CATCH_UP_FRAMES)
        catching_up = max(catching_up, CATCH_UP_REQUESTS * CATCH_UP_FRAMES * 256 / (time.perf_counter() - started))
        each = [agent.requests(LIVE_REQUESTS, 1, 1) for agent in agents]
        started = time.perf_counter()
        with ThreadPoolExecutor(len(agents)) as pool:
            list(pool.map(lambda one: _post(url, one, 1), each))
        live = max(live, len(agents) * LIVE_REQUESTS / (time.perf_counter() - started))
    return catching_up, live, size


def _commits(execute: Callable[[bytes], None], size: int, count: int) -> float:
    """Bare synced commits a second of `size` bytes each."""
    best, raw = 0.0, os.urandom(size)
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(count):
            execute(raw)
        best = max(best, count / (time.perf_counter() - started))
    return best


def _sqlite(folder: Path) -> Callable[[bytes], None]:
    database = sqlite3.connect(folder / "bare.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE bare (body BLOB)")

    def commit(raw: bytes) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO bare VALUES (?)", (raw,))
        database.execute("COMMIT")

    return commit


def _postgres(url: str) -> Callable[[bytes], None]:
    import psycopg

    connection = psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"))
    connection.execute("CREATE TABLE bare (body BYTEA)")
    connection.commit()

    def commit(raw: bytes) -> None:
        connection.execute("INSERT INTO bare VALUES (%s)", (raw,))
        connection.commit()

    return commit


def _figures(name: str, inside: Inside, bare: Callable[[bytes], None]) -> list[Figure]:
    inside.at(0)
    agents = [Agent(inside) for _ in range(AGENTS)]
    inside.at(AHEAD_S)
    with _server(inside) as url:
        catching_up, live, size = _rates(url, agents)
    small, large = _commits(bare, 1_000, 200), _commits(bare, size, 20) * CATCH_UP_FRAMES * 256
    at_once = f"{CATCH_UP_FRAMES} frames/request, 1 request/commit, 256 records/frame, 1 detail/record, priced in a session, over HTTP"
    live_how = f"1 record/frame, 1 frame/request, 1 request/commit, {AGENTS} agents at once, priced in sessions, over HTTP"
    return [
        figure(f"store_records_{name}_frame1", live, "records/s", small, "reported as a share of bare synced commits", True,
               f"{live_how}; reference: bare synced commits of 1 kB"),
        figure(f"store_records_{name}_frame256", catching_up, "records/s", large, "≥ 20,000 records/s", catching_up >= GOAL_RATE,
               f"{at_once}; reference: the same bytes in bare synced commits"),
    ]  # fmt: skip


def measure() -> list[Figure]:
    """SQLite always; PostgreSQL where its server is installed."""
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inside = Inside(folder)
        figures += _figures("sqlite", inside, _sqlite(folder))
        inside.service.db.close()
    if find_binaries() is None:
        print("store_records_postgres_*: not measured, PostgreSQL is not installed (apt-get install postgresql)")
        return figures
    cluster = Cluster(synced=True)
    try:
        with tempfile.TemporaryDirectory() as name:
            url = cluster.url()
            inside = Inside(Path(name), url)
            figures += _figures("postgres", inside, _postgres(cluster.url()))
            inside.service.db.close()
    finally:
        cluster.stop()
    return figures
