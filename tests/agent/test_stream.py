"""The agent's side of a service in trouble: how often it calls, what it says about it, and when it calls at once again."""

from __future__ import annotations

import os
import queue
import socketserver
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meter_agent.clock import NANO, Clock
from meter_agent.config import Config
from meter_agent.service import Service
from meter_agent.stream import STEADY_NS, Courier, Stream
from meter_agent.worker import Inbox
from onsite.backoff import FIRST_S, MOST_S, Backoff
from onsite.errors import ServiceFault
from protocol.keys import Signer

OPENED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
HAVE = b'event: have\ndata: {"incarnation":"0x%s","throughSequence":0,"frame":"0x%s"}\n\n' % (b"00" * 32, b"00" * 32)
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
WATCH_S = 2.0
MOST_CALLS = 4
"""Pauses of at least 0.25, 0.5, 1 and 2 s: four calls fit into two seconds."""


class Answerer:
    """An HTTP server that answers every request with the same bytes, then closes. `called` are the moments."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.called = answer, list[float]()
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                length = 0
                while (line := self.rfile.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                self.rfile.read(length)
                outer.called.append(time.monotonic())
                if outer.answer:
                    self.wfile.write(outer.answer)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address = True, True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Heard:
    """The sender's ear for `have`."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def service_has(self, frame: bytes) -> None:
        self.frames.append(frame)


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], Answerer]]:
    made: list[Answerer] = []

    def make(answer: bytes) -> Answerer:
        made.append(Answerer(answer))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def garbled(answering: Callable[[bytes], Answerer]) -> Answerer:
    return answering(b"")


def service_at(url: str, clock: Clock) -> Service:
    config = Config(
        device=os.urandom(32), placement="bench", rated_watts=1, meter="m", relay="r", service_url=url, service_key=os.urandom(20),
        control_key=os.urandom(20), chain_id=1, escrow=os.urandom(20), registry=os.urandom(20), max_lock_micro=0,
    )  # fmt: skip
    return Service(config, Signer.create(), clock)


def stream_to(url: str, clock: Clock | None = None, backoff: Backoff | None = None) -> Stream:
    clock = clock or Clock()
    return Stream(service_at(url, clock), queue.Queue(), Heard(), clock, backoff)  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [FAILED, OPENED + HAVE, b"", b"gibberish\r\n\r\n"], ids=["500", "opens-and-breaks", "reset", "no-http"])
def test_a_service_in_trouble_is_called_ever_more_seldom_and_complained_of_once_a_call(
    answering: Callable[[bytes], Answerer], answer: bytes
) -> None:
    server = answering(answer)
    with structlog.testing.capture_logs() as logs:
        stream = stream_to(server.url)
        stream.start()
        time.sleep(WATCH_S)
        stream.stop()
        stream.join(5)
    assert 2 <= len(server.called) <= MOST_CALLS
    assert len(logs) == len(server.called)
    assert {entry["event"] for entry in logs} == {"stream broken"}


def test_pauses_double_are_shortened_by_chance_and_bounded() -> None:
    longest, shortest = Backoff(chance=lambda: 1.0), Backoff(chance=lambda: 0.0)
    pauses = [longest.next_s() for _ in range(12)]
    assert pauses[:4] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S]
    assert pauses[-1] == MOST_S
    assert [shortest.next_s() for _ in range(12)] == [pause / 2 for pause in pauses]
    longest.reset()
    assert longest.next_s() == FIRST_S
    chance = Backoff()
    assert len({chance.next_s() for _ in range(20)}) > 10


class Leaping:
    """A monotonic counter that advances by `leap_ns` at every look."""

    def __init__(self, leap_ns: int) -> None:
        self.now_ns, self.leap_ns = 0, leap_ns

    def __call__(self) -> int:
        self.now_ns += self.leap_ns
        return self.now_ns


@pytest.mark.parametrize(("lived_ns", "steady"), [(STEADY_NS + NANO, True), (STEADY_NS // 10, False)])
def test_only_a_stream_that_lived_a_while_makes_the_pauses_short_again(
    answering: Callable[[bytes], Answerer], lived_ns: int, steady: bool
) -> None:
    server = answering(OPENED + HAVE)
    backoff = Backoff(chance=lambda: 1.0)
    for _ in range(5):
        backoff.next_s()
    stream = stream_to(server.url, Clock(monotonic_ns=Leaping(lived_ns)), backoff)
    with pytest.raises(ServiceFault, match="stream"):
        stream._listen()
    assert backoff.next_s() == (FIRST_S if steady else 32 * FIRST_S)


def test_the_courier_tries_again_at_once_when_the_service_is_heard(answering: Callable[[bytes], Answerer]) -> None:
    server, inbox = answering(FAILED), Inbox()
    courier = Courier(service_at(server.url, Clock()), inbox)
    with structlog.testing.capture_logs() as logs:
        courier.start()
        courier.post("k", "vouchers", {"a": 1})
        deadline = time.monotonic() + 20
        while len(server.called) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        time.sleep(0.2)  # the fourth attempt's answer is read; a pause of 2 to 4 s begins
        heard = time.monotonic()
        courier.hurry()
        assert inbox.get(timeout=10).document == {"key": "k"}
    assert time.monotonic() - heard < 1.0
    assert len(logs) == 4


NAMES = st.sampled_from([b"have", b"grant", b"command"])
EVENTS = st.builds(lambda name, data: b"event: %s\ndata: %s\n\n" % (name, data), NAMES, st.binary(max_size=60))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.binary(max_size=200), EVENTS), max_size=6))
def test_whatever_bytes_a_stream_carries_it_only_breaks(garbled: Answerer, parts: list[bytes]) -> None:
    garbled.answer = OPENED + b"".join(parts)
    with pytest.raises(ServiceFault):
        stream_to(garbled.url)._listen()
