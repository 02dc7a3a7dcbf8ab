"""Characters and block checks of IEC 62056-21. Pure.

On the wire a character is 7E1: start, seven data bits, even parity, stop. 8N1 with the parity computed here puts exactly
the same ten bits on the wire. It is what we use everywhere, because a pseudo-terminal, a USB head or a serial server that can
only do 8N1 then works too, and because pyserial's 7E1 lets a character with wrong parity pass while `strip_parity` names it.
"""

from functools import reduce
from operator import xor

from meter_agent.line.errors import BadBytes

SOH, STX, ETX, EOT, ACK, NAK = b"\x01", b"\x02", b"\x03", b"\x04", b"\x06", b"\x15"


def add_parity(data: bytes) -> bytes:
    """Seven-bit characters with even parity in the eighth bit."""
    return bytes(byte | (byte.bit_count() & 1) << 7 for byte in data)


def strip_parity(data: bytes) -> bytes:
    """The seven data bits of each character; `BadBytes` at the first with odd parity."""
    for at, byte in enumerate(data):
        if byte.bit_count() & 1:
            raise BadBytes(
                f"character {at} of a burst of {len(data)} from the meter is {byte:#04x}, whose parity is odd: "
                "check the wiring, the optical head and the baud rate"
            )
    return bytes(byte & 0x7F for byte in data)


def check_character(data: bytes) -> int:
    """Block check character: exclusive or of everything after the first SOH or STX up to and with ETX (annex B)."""
    return reduce(xor, data, 0)


def block(text: bytes) -> bytes:
    """A block beginning with SOH or STX, with ETX and block check added."""
    return text + ETX + bytes([check_character(text[1:] + ETX)])
