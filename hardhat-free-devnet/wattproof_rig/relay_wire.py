"""The relay's side of Modbus RTU: one coil that drives, one discrete input that is the auxiliary contact. Sans-I/O.

Framing and message coding are pymodbus's; what the messages do is the circuit's. The input is wired to the contact's own
auxiliary, not to the coil: reading it back says where the contact *is*.
"""

from collections.abc import Callable

from pymodbus import ModbusException
from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadCoilsResponse,
    ReadDiscreteInputsRequest,
    ReadDiscreteInputsResponse,
    WriteSingleCoilRequest,
    WriteSingleCoilResponse,
)

UNIT = 1
BAUD = 19200
# 3.5 characters of silence end a frame at this speed, and the relay's own processor takes its time.
REACTION_S = 0.004
MAX_PENDING = 256  # the longest Modbus RTU frame


class RelayWire:
    """`drive(on)` moves the coil; `coil()` and `auxiliary()` read it and the input."""

    def __init__(self, drive: Callable[[bool], None], coil: Callable[[], bool], auxiliary: Callable[[], bool]):
        self._drive, self._coil, self._auxiliary = drive, coil, auxiliary
        self._framer = FramerRTU(DecodePDU(is_server=True))
        self._pending = b""

    def hang_up(self) -> None:
        """Forget half a frame."""
        self._pending = b""

    def receive(self, data: bytes) -> bytes | None:
        """The answer to a whole frame for this unit, else None. A damaged frame is ignored, as the standard says."""
        self._pending = (self._pending + data)[-MAX_PENDING:]
        try:
            used, request = self._framer.handleFrame(self._pending, UNIT, 0)
        except ModbusException:
            self._pending = b""
            return None
        self._pending = self._pending[used:]
        if request is None:
            return None
        answer = self._answer(request)
        answer.dev_id = UNIT
        return self._framer.buildFrame(answer)

    def _answer(self, request: ModbusPDU) -> ModbusPDU:
        if not isinstance(request, ReadCoilsRequest | WriteSingleCoilRequest):
            return ExceptionResponse(request.function_code, ExcCodes.ILLEGAL_FUNCTION)
        if request.address != 0 or (isinstance(request, ReadCoilsRequest) and request.count != 1):
            return ExceptionResponse(request.function_code, ExcCodes.ILLEGAL_ADDRESS)
        if isinstance(request, WriteSingleCoilRequest):
            self._drive(request.bits[0])
            return WriteSingleCoilResponse(address=0, bits=[request.bits[0]])
        if isinstance(request, ReadDiscreteInputsRequest):
            return ReadDiscreteInputsResponse(bits=[self._auxiliary()])
        return ReadCoilsResponse(bits=[self._coil()])
