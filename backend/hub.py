"""Who waits for news: the open streams, and the loops that have something to do sooner than their next round."""

from __future__ import annotations

import asyncio
import threading
import time


class Subscription:
    """One open stream. `wait` returns when there may be news, or after the time given."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def notify(self) -> None:
        """From any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_s: float) -> bool:
        """True if there may be news."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout_s)
        except TimeoutError:
            return False
        self._event.clear()
        return True


def payers_of(device: bytes) -> bytes:
    """Whom to wake when a device sent frames, besides its own stream: the payers who watch its sessions."""
    return b"payers of " + device


class Hub:
    """Wakes streams by device and loops by name. Nothing is carried here: whoever wakes looks into the database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[bytes, set[Subscription]] = {}
        self._since: dict[bytes, float] = {}
        self._loops: dict[str, threading.Event] = {}
        self.stopping = threading.Event()

    def subscribe(self, device: bytes) -> Subscription:
        """Call from the event loop."""
        subscription = Subscription(asyncio.get_running_loop())
        with self._lock:
            self._streams.setdefault(device, set()).add(subscription)
            self._since.setdefault(device, time.monotonic())
        return subscription

    def unsubscribe(self, device: bytes, subscription: Subscription) -> None:
        with self._lock:
            waiting = self._streams.get(device, set())
            waiting.discard(subscription)
            if not waiting:
                self._streams.pop(device, None)
                self._since.pop(device, None)

    def connected(self) -> set[bytes]:
        """Devices with an open stream in this process."""
        with self._lock:
            return set(self._streams)

    def connected_for_s(self, device: bytes) -> float:
        """For how long a device has had a stream here without a break; 0 if it has none."""
        with self._lock:
            since = self._since.get(device)
        return 0.0 if since is None else time.monotonic() - since

    def wake(self, device: bytes) -> None:
        with self._lock:
            waiting = list(self._streams.get(device, ()))
        for subscription in waiting:
            subscription.notify()

    def wake_all(self) -> None:
        for device in self.connected():
            self.wake(device)

    def loop_event(self, name: str) -> threading.Event:
        with self._lock:
            return self._loops.setdefault(name, threading.Event())

    def wake_loop(self, name: str) -> None:
        """Let a loop run its next round now."""
        self.loop_event(name).set()

    def stop(self) -> None:
        """Everything that waits here ends soon."""
        self.stopping.set()
        with self._lock:
            events = list(self._loops.values())
        for waiting in events:
            waiting.set()
        self.wake_all()
