"""The one error tree of the line drivers.

Every message says what was wrong, where, and what to do. `transient` is a property of the type: whether trying again, with
nothing changed by a person, can help.
"""


class LineError(Exception):
    """Anything that went wrong on a serial line; catching this catches all of them."""

    transient = True


class BadBytes(LineError):
    """Foreign bytes that are not what they should be: the only error the parsers raise, whatever the bytes.

    Babbling, wrong block checks, wrong parity and messages cut short are all this.
    """


class MeterSilent(LineError):
    """Not one byte within the reaction time the standard allows."""


class MeterTooSlow(LineError):
    """Bytes kept coming, but the message was not whole within its deadline."""


class MeterRefused(LineError):
    """The meter answered that it will not: no programming mode, a wrong password, an unknown register."""

    transient = False


class RelaySilent(LineError):
    """The relay did not answer within its deadline, retries included."""


class RelayRefused(LineError):
    """The relay answered with a Modbus exception: wrong unit, coil or input number."""

    transient = False


class PortError(LineError):
    """The port itself: not there, taken by another program, unplugged. Opened anew at the next call."""
