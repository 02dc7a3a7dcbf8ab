"""A serial line on a pseudo-terminal that keeps a wire's time.

Bytes in both directions take ten bit times each at the device's baud. A pseudo-terminal carries no bits, but it does keep the
baud rate its other end has set: while that differs from the device's, neither side can read the other, as on a wire.
"""

import asyncio
import os
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# A paced writer wakes this often at most: finer would cost CPU, coarser would distort what a byte's time is at 19200 baud.
TICK_S = 0.004
READ_SIZE = 4096
BITS_PER_BYTE = 10
_SPEEDS = {
    getattr(termios, f"B{baud}"): baud
    for baud in (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
    if hasattr(termios, f"B{baud}")
}


class PtyLine:
    """One end of a wire. `on_bytes` is called in the event loop once the last byte of a burst has arrived."""

    def __init__(self, link: Path, baud: int, on_bytes: Callable[[bytes], None]):
        self.baud = baud
        self.link = link
        self.powered = True
        self._on_bytes = on_bytes
        # Our own handle on the far end stays open, so that a client coming and going never hangs the line up.
        self._master, self._far = os.openpty()
        tty.setraw(self._far)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._far)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._master, self._readable)
        self._arrived_at = 0.0
        self._sending: asyncio.Task[None] | None = None
        with suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(self.path)

    def far_baud(self) -> int | None:
        """The baud rate the other end has set; None where it set one we have no name for."""
        return _SPEEDS.get(termios.tcgetattr(self._far)[4])

    def _readable(self) -> None:
        try:
            data = os.read(self._master, READ_SIZE)
        except (BlockingIOError, OSError):
            return
        if not self.powered or self.far_baud() != self.baud:
            return  # framing errors at the wrong speed: a UART drops such characters
        # Bytes of one burst follow each other on the wire, and cannot arrive faster than the baud rate allows.
        self._arrived_at = max(self._arrived_at, self._loop.time()) + len(data) * BITS_PER_BYTE / self.baud
        self._loop.call_at(self._arrived_at, self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        if self.powered:
            self._on_bytes(data)

    def send(self, data: bytes, *, after_s: float = 0.0, byte_s: float = 0.0, then: Callable[[], None] | None = None) -> None:
        """Send after a reaction time, one byte each `byte_s` (default: by baud); `then` is called after the last bit."""
        self.stop_sending()
        self._sending = self._loop.create_task(self._pace(data, after_s, byte_s, then))

    @property
    def sending(self) -> bool:
        return self._sending is not None and not self._sending.done()

    def stop_sending(self) -> None:
        """Fall silent at once, with whatever was not yet sent forgotten."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    async def _pace(self, data: bytes, after_s: float, byte_s: float, then: Callable[[], None] | None) -> None:
        await asyncio.sleep(after_s)
        byte_s = byte_s or BITS_PER_BYTE / self.baud
        start = self._loop.time()
        sent = 0
        while sent < len(data):
            due = min(len(data), int((self._loop.time() - start) / byte_s))
            if due > sent:
                self._put(data[sent:due])
                sent = due
            if sent < len(data):
                await asyncio.sleep(max(TICK_S, start + (sent + 1) * byte_s - self._loop.time()))
        if then is not None:
            then()

    def _put(self, data: bytes) -> None:
        if self.far_baud() != self.baud:
            data = bytes(byte ^ 0xA5 for byte in data)  # what a UART at another speed makes of it: noise
        with suppress(BlockingIOError, OSError):  # nobody reads and the buffer is full: a wire does not wait
            os.write(self._master, data)

    def close(self) -> None:
        """Take the line away; its stable link goes too."""
        self.stop_sending()
        self._loop.remove_reader(self._master)
        os.close(self._master)
        os.close(self._far)
        with suppress(FileNotFoundError):
            self.link.unlink()
