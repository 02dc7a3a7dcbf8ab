"""A relay on a serial line by Modbus RTU: one coil that drives the contactor, one input that is its auxiliary contact.

The acknowledgement of a write proves that the relay heard, not that the contact moved; the input says where the contact is
(`disconnection` says when that is enough). pymodbus does the protocol; here are deadlines, reconnection and one error tree.
"""

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from pymodbus.client import ModbusSerialClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import ReadDiscreteInputsResponse, WriteSingleCoilResponse

from meter_agent.line.errors import BadBytes, PortError, RelayRefused, RelaySilent
from meter_agent.line.serial_line import PORT_TROUBLE

# A relay answers in about 20 ms at 19200 baud. Two tries of 0.3 s bound every call to well under a second.
ANSWER_TIMEOUT_S = 0.3
RETRIES = 1

Answer = TypeVar("Answer", bound=ModbusPDU)


class Relay(Protocol):
    """What the agent needs of a relay (docs/walls.md)."""

    def open(self) -> None: ...
    def close(self) -> None: ...
    def auxiliary_open(self) -> bool: ...
    def hang_up(self) -> None: ...


class ModbusRelay:
    """The `Relay` of Modbus RTU. Coil on = contact driven closed. One thread at a time: a second caller waits."""

    def __init__(self, port: str, *, unit: int = 1, coil: int = 0, auxiliary_input: int = 0, baud: int = 19200):
        self._port = port
        self._unit, self._coil, self._input = unit, coil, auxiliary_input
        self._client = ModbusSerialClient(port, baudrate=baud, timeout=ANSWER_TIMEOUT_S, retries=RETRIES)
        self._lock = threading.Lock()

    def open(self) -> None:
        """Drive the contact open (coil off)."""
        self._drive(False)

    def close(self) -> None:
        """Drive the contact closed (coil on)."""
        self._drive(True)

    def auxiliary_open(self) -> bool:
        """What the auxiliary contact says; it is wired to be closed when the main contact is."""
        answer = self._call(
            ReadDiscreteInputsResponse,
            lambda: self._client.read_discrete_inputs(self._input, count=1, device_id=self._unit),
        )
        if not answer.bits:
            raise BadBytes(f"the relay at {self._port} answered the question for input {self._input} without a bit")
        return not answer.bits[0]

    def hang_up(self) -> None:
        """Close the port; the contact stays as it is."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        try:
            self._client.close()  # type: ignore[no-untyped-call]
        except PORT_TROUBLE:  # an unplugged port cannot be closed properly
            self._client.socket = None

    def _drive(self, on: bool) -> None:
        self._call(WriteSingleCoilResponse, lambda: self._client.write_coil(self._coil, on, device_id=self._unit))

    def _call(self, kind: type[Answer], ask: Callable[[], ModbusPDU]) -> Answer:
        with self._lock:
            if not self._client.connect():
                raise PortError(f"cannot open the relay's port {self._port}: is it plugged in, and not in use by another program?")
            try:
                answer = ask()
            except ModbusException as error:
                self._close()  # what may still be coming is not the answer to the next question
                raise RelaySilent(
                    f"no answer from the relay at {self._port}, unit {self._unit}: check its supply and wiring ({error})"
                ) from error
            except PORT_TROUBLE as error:
                self._close()
                raise PortError(f"the relay's port {self._port} failed: {error}. It is opened again at the next call") from error
        if isinstance(answer, ExceptionResponse):
            raise RelayRefused(
                f"the relay at {self._port} answered Modbus exception {answer.exception_code}: "
                f"check unit {self._unit}, coil {self._coil}, input {self._input}"
            )
        if not isinstance(answer, kind):
            raise BadBytes(f"the relay at {self._port} answered with {type(answer).__name__}, not {kind.__name__}")
        return answer


def open_relay(port: str, *, unit: int = 1, coil: int = 0, auxiliary_input: int = 0, baud: int = 19200) -> Relay:
    """A relay on that port; touches nothing until it is first asked."""
    return ModbusRelay(port, unit=unit, coil=coil, auxiliary_input=auxiliary_input, baud=baud)
