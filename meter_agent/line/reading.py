"""What a meter tells, in integers: readings, samples, and which OBIS code is what. Pure."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from meter_agent.line.errors import BadBytes
from meter_agent.line.values import DataSet, exact
from protocol.evidence import MAX_DETAILS, Flag

_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{1,16}", re.ASCII)


class MeterMap(NamedTuple):
    """Which code of this kind of meter means what. `status_bits[i]` is what bit i of the status register stands for."""

    serial: tuple[str, ...] = ("C.1.0", "0.0.0")
    imported: str = "1.8.0"
    exported: str = "2.8.0"
    power: str = "16.7.0"
    current: str = "31.7.0"
    voltage: str = "32.7.0"  # sensed downstream of the contact
    status: str = "C.5.0"
    status_bits: tuple[Flag, ...] = (
        Flag.TAMPER,
        Flag.POWER_FAIL,
        Flag.CLOCK_NOT_SYNCHRONISED,
        Flag.OVERCURRENT,
    )
    read_command: str = "R5"


class MeterReading(NamedTuple):
    """Everything at one moment. The register rolls over at 10^register_digits × step_milliwatt_hours.

    `read_at_s`: UTC when the answer began to arrive. `*_ns`: `time.monotonic_ns()` of our question and of the last byte.
    """

    serial: str
    identification: str
    import_milliwatt_hours: int
    export_milliwatt_hours: int
    step_milliwatt_hours: int
    register_digits: int
    voltage_millivolts: int
    current_milliamps: int
    power_milliwatts: int
    status: Flag
    details: list[tuple[str, bytes]]
    read_at_s: int
    started_ns: int
    finished_ns: int


class MeterSample(NamedTuple):
    """Instantaneous values. Voltage is None where the meter does not report it: never 0, which means measured dead.

    `serial`: the meter that was signed on to, so that a swap shows in the next sample.
    """

    power_milliwatts: int
    voltage_millivolts: int | None
    import_milliwatt_hours: int | None
    read_at_s: int
    started_ns: int
    finished_ns: int
    serial: str


class Moment(NamedTuple):
    """When an exchange happened."""

    read_at_s: int
    started_ns: int
    finished_ns: int


def reading_of(data_sets: Iterable[DataSet], identification: str, moment: Moment, codes: MeterMap) -> MeterReading:
    """A reading from the data sets of a readout or of single questions.

    Serial, import register and power must be there. A missing export register reads 0, a missing voltage or current 0.
    """
    sets = list(data_sets)
    by_code: dict[str, DataSet] = {}
    for data_set in sets:
        by_code.setdefault(data_set.code, data_set)  # the present value comes before those of past billing periods
    serial = _serial(by_code, codes)
    if not serial:
        raise BadBytes(f"the readout names no meter ({' or '.join(codes.serial)} is missing)")
    imported = _required(by_code, codes.imported)
    register = exact(imported, whole=True)
    exported = exact(by_code[codes.exported], whole=True).milli if codes.exported in by_code else 0
    if register.milli < 0 or exported < 0:
        raise BadBytes(f"a register is negative: {imported.text}")
    return MeterReading(
        serial=serial,
        identification=identification,
        import_milliwatt_hours=register.milli,
        export_milliwatt_hours=exported,
        step_milliwatt_hours=register.step,
        register_digits=register.digits,
        voltage_millivolts=exact(by_code[codes.voltage]).milli if codes.voltage in by_code else 0,
        current_milliamps=exact(by_code[codes.current]).milli if codes.current in by_code else 0,
        power_milliwatts=exact(_required(by_code, codes.power)).milli,
        status=_status(by_code.get(codes.status), codes),
        details=_details(sets, codes),
        read_at_s=moment.read_at_s,
        started_ns=moment.started_ns,
        finished_ns=moment.finished_ns,
    )


def sample_of(data_sets: Iterable[DataSet], serial: str, moment: Moment, codes: MeterMap) -> MeterSample:
    """A sample from whatever of power (must be there), voltage and import register was got; `serial` where known."""
    by_code = {data_set.code: data_set for data_set in reversed(list(data_sets))}
    imported = by_code.get(codes.imported)
    return MeterSample(
        power_milliwatts=exact(_required(by_code, codes.power)).milli,
        voltage_millivolts=exact(by_code[codes.voltage]).milli if codes.voltage in by_code else None,
        import_milliwatt_hours=exact(imported, whole=True).milli if imported else None,
        read_at_s=moment.read_at_s,
        started_ns=moment.started_ns,
        finished_ns=moment.finished_ns,
        serial=serial or _serial(by_code, codes),
    )


def _details(sets: list[DataSet], codes: MeterMap) -> list[tuple[str, bytes]]:
    """All lines the meter showed; where that is more than a record can hold, those the reading was made of."""
    if len(sets) > MAX_DETAILS:
        wanted = {*codes.serial, codes.imported, codes.exported, codes.power, codes.current, codes.voltage, codes.status}
        sets = [one for one in sets if one.code in wanted][:MAX_DETAILS]
    return [(one.address, one.raw) for one in sets]


def _serial(by_code: dict[str, DataSet], codes: MeterMap) -> str:
    return next((by_code[code].text.strip() for code in codes.serial if code in by_code), "")


def _required(by_code: dict[str, DataSet], code: str) -> DataSet:
    if code not in by_code:
        raise BadBytes(f"the meter does not show {code}; it shows {', '.join(list(by_code)[:20]) or 'nothing'}")
    return by_code[code]


def _status(data_set: DataSet | None, codes: MeterMap) -> Flag:
    if data_set is None:
        return Flag(0)
    if not _HEXADECIMAL.fullmatch(data_set.text):
        raise BadBytes(f"{data_set.address} is no hexadecimal status: {data_set.text[:20]!r}")
    word = int(data_set.text, 16)
    status = Flag(0)
    for bit, meaning in enumerate(codes.status_bits):
        if word >> bit & 1:
            status |= meaning
    return status
