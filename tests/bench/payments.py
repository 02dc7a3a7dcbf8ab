"""payments_per_second_*: POST /payments in requests of 256 over HTTP: every signature recovered, every payment compared, kept and synced.

The service runs in a process of its own (uvicorn, without loops). A request holds 256 payments of 64 sessions, four rising ones each, as
a fleet's buyers send them; one request is one commit. The references are the library's bare verification of as many signatures on one
core, and the same database doing nothing but bare synced commits of the same bytes, both in the same run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
from coincurve import PublicKey

from protocol import keys
from protocol.hashing import keccak
from protocol.money import payment_digest, signing_prefix
from tests.service.bench_agent import Meter
from tests.service.inside import Inside
from tests.service.postgres import Cluster, find_binaries

from .figure import Figure, best_rate, figure
from .store import _commits, _postgres, _server, _sqlite

GOAL_RATE = 10_000
SESSIONS = 64
A_REQUEST = 256
REQUESTS = 12  # a round and client
CLIENTS = 2
ROUNDS = 3
LOCK_MICRO = 10**9


class Fleet:
    """Buyers in payment mode, each with a session, and the payments they will sign."""

    def __init__(self, inside: Inside, sessions: int) -> None:
        self.key = keys.Signer.create()
        self.prefix = signing_prefix(inside.service.deployment.chain_id, inside.service.deployment.escrow)
        meters = [Meter() for _ in range(sessions)]
        self.sessions = [inside.session(meter, inside.enrol(meter, vouchers=0), LOCK_MICRO, self.key).session for meter in meters]
        self.paid = 0

    def requests(self, count: int) -> list[bytes]:
        """`count` bodies, each of A_REQUEST payments that rise."""
        return [self._body() for _ in range(count)]

    def _body(self) -> bytes:
        items = []
        for _ in range(A_REQUEST // len(self.sessions)):
            self.paid += 7
            for session in self.sessions:
                frame = keccak(session + self.paid.to_bytes(8, "big"))
                signature = self.key.sign(payment_digest(self.prefix, session, self.paid, frame))
                items.append(
                    f'{{"session":"0x{session.hex()}","amountMicro":{self.paid},"frame":"0x{frame.hex()}","signature":"0x{signature.hex()}"}}'
                )
        return b'{"payments":[' + ",".join(items).encode() + b"]}"


def _post(url: str, bodies: list[bytes]) -> None:
    with httpx2.Client(timeout=60) as client:
        for body in bodies:
            answer = client.post(f"{url}/api/v1/payments", content=body).json()
            if answer.get("accepted") != A_REQUEST or answer["refused"]:
                raise RuntimeError(f"the service did not take everything: {str(answer)[:300]}")


def _rate(url: str, fleets: list[Fleet]) -> float:
    """Payments a second, best of the rounds."""
    best = 0.0
    for _ in range(ROUNDS):
        each = [fleet.requests(REQUESTS) for fleet in fleets]
        started = time.perf_counter()
        with ThreadPoolExecutor(len(fleets)) as pool:
            list(pool.map(lambda bodies: _post(url, bodies), each))
        best = max(best, len(fleets) * REQUESTS * A_REQUEST / (time.perf_counter() - started))
    return best


def _bare_verifications() -> float:
    """Signatures a second that the library verifies against a known key, one core."""
    signer, digest = keys.Signer.create(), keccak(b"bare")
    der, public = keys.der_signature(signer.sign(digest)[:64]), PublicKey(signer.public_key)

    def verify() -> int:
        for _ in range(2000):
            public.verify(der, digest, hasher=None)
        return 2000

    return best_rate(verify, 10)


def _figure(name: str, inside: Inside, bare: Callable[[bytes], None]) -> Figure:
    fleets = [Fleet(inside, SESSIONS) for _ in range(CLIENTS)]
    size = len(fleets[0].requests(1)[0])
    with _server(inside) as url:
        rate = max(_rate(url, fleets[:1]), _rate(url, fleets))  # alone, and both at once
    verified, committed = _bare_verifications(), _commits(bare, size, 20) * A_REQUEST
    how = (
        f"{A_REQUEST} payments of {SESSIONS} sessions/request, 1 request/commit, 1 or {CLIENTS} clients at once, over HTTP; every "
        f"signature recovered, every payment kept; bare libsecp256k1 {verified:,.0f} verifications/s/core, the same bytes in bare synced "
        f"commits {committed:,.0f} payments/s"
    )
    goal = f"≥ {GOAL_RATE:,} payments/s in requests of {A_REQUEST}"
    return figure(f"payments_per_second_{name}", rate, "payments/s", verified, goal, rate >= GOAL_RATE, how)


def measure() -> list[Figure]:
    """SQLite always; PostgreSQL where its server is installed."""
    with tempfile.TemporaryDirectory() as name:
        inside = Inside(Path(name))
        figures = [_figure("sqlite", inside, _sqlite(Path(name)))]
        inside.service.db.close()
    if find_binaries() is None:
        print("payments_per_second_postgres: not measured, PostgreSQL is not installed (apt-get install postgresql)")
        return figures
    cluster = Cluster(synced=True)
    try:
        with tempfile.TemporaryDirectory() as name:
            inside = Inside(Path(name), cluster.url())
            figures.append(_figure("postgres", inside, _postgres(cluster.url())))
            inside.service.db.close()
    finally:
        cluster.stop()
    return figures
