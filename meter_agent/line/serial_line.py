"""A serial port as the meter driver needs it: bursts with parity, waits with deadlines, changes of speed.

Over pyserial's `serial_for_url`, so a device path, a pseudo-terminal, `socket://` and `rfc2217://` all work. Only `BadBytes`
(parity) and `PortError` come out.
"""

import termios
import time
from contextlib import suppress

import serial

from meter_agent.line.errors import PortError
from meter_agent.line.framing import add_parity, strip_parity

BITS_PER_CHARACTER = 10
# No write of ours is longer than 40 characters, 1.4 s at 300 baud; a port that takes longer is stuck.
WRITE_TIMEOUT_S = 3.0
# What pyserial lets through when a port goes away under its feet; TypeError where it was closed meanwhile.
PORT_TROUBLE = (OSError, ValueError, TypeError, termios.error)


class SerialLine:
    """Opens itself when first used, and again after a `PortError`. Characters are seven-bit on our side."""

    def __init__(self, url: str, baud: int):
        self.url = url
        self.baud = baud
        self._port: serial.SerialBase | None = None

    def _opened(self) -> serial.SerialBase:
        if self._port is None:
            try:
                self._port = serial.serial_for_url(
                    self.url,
                    baudrate=self.baud,
                    bytesize=8,
                    parity="N",
                    stopbits=1,
                    timeout=0,
                    write_timeout=WRITE_TIMEOUT_S,
                    exclusive=True,
                )
            except PORT_TROUBLE as error:
                raise PortError(
                    f"cannot open the meter's port {self.url}: {error}. Is it plugged in, and not in use by another program?"
                ) from error
        return self._port

    def _lost(self, error: Exception) -> PortError:
        self.close()
        return PortError(f"the meter's port {self.url} failed: {error}. It is opened again at the next call")

    def set_baud(self, baud: int) -> None:
        """Change speed. Only after `send` has returned: its last bit has then left."""
        self.baud = baud
        port = self._opened()
        if port.baudrate != baud:
            try:
                port.baudrate = baud
            except PORT_TROUBLE as error:
                raise self._lost(error) from error

    def send(self, data: bytes) -> None:
        """Send, dropping what came in before (it answers nothing), and wait until the last bit has left.

        The wait is counted, not asked of the driver: USB adapters report an empty buffer while their own is still full,
        and a change of speed would then garble the end of the message.
        """
        port = self._opened()
        try:
            port.reset_input_buffer()
            port.write(add_parity(data))
            port.flush()
        except PORT_TROUBLE as error:
            raise self._lost(error) from error
        time.sleep(len(data) * BITS_PER_CHARACTER / self.baud)

    def receive(self, until: float) -> bytes:
        """At least one character, and all that are there; empty when `until` (monotonic seconds) has passed."""
        port = self._opened()
        try:
            port.timeout = max(0.0, until - time.monotonic())
            data = port.read(1)
            if data and (waiting := port.in_waiting):
                port.timeout = 0
                data += port.read(waiting)
        except PORT_TROUBLE as error:
            raise self._lost(error) from error
        return strip_parity(data)

    def drain(self, quiet_s: float, most_s: float) -> None:
        """Throw away what comes until nothing has come for `quiet_s`, at most for `most_s`."""
        until = time.monotonic() + most_s
        port = self._opened()
        try:
            port.timeout = quiet_s
            while port.read(1) and time.monotonic() < until:
                port.reset_input_buffer()
        except PORT_TROUBLE as error:
            raise self._lost(error) from error

    def close(self) -> None:
        if self._port is not None:
            port, self._port = self._port, None
            with suppress(*PORT_TROUBLE):  # an unplugged port cannot be closed properly
                port.close()
