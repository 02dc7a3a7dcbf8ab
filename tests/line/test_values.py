"""Exact decimals, data sets, and readings made of them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter_agent.line import BadBytes, MeterMap
from meter_agent.line.reading import Moment, reading_of, sample_of
from meter_agent.line.values import MAX_DATA_SETS, DataSet, exact, parse_data_sets
from protocol.evidence import Flag

MOMENT = Moment(1_700_000_000, 1, 2)


def one(code: str, text: str) -> DataSet:
    return DataSet(code, f"({text})".encode())


@given(st.decimals(min_value=0, max_value=10**8, places=3), st.sampled_from(["kWh", "Wh", "MWh"]))
def test_a_register_is_exactly_its_decimal(value: Decimal, unit: str) -> None:
    got = exact(one("1.8.0", f"{value}*{unit}"), whole=True)
    scale = {"Wh": 3, "kWh": 6, "MWh": 9}[unit]
    assert got.milli == int(value.scaleb(scale))
    assert got.step == 10 ** (scale - 3)


@pytest.mark.parametrize(
    ("text", "milli", "step", "digits"),
    [
        ("000123.456*kWh", 123_456_000, 1000, 9),
        ("12345678*kWh", 12_345_678_000_000, 1_000_000, 8),
        ("0000.00136*kWh", 1360, 10, 9),
        ("-01.2345*kW", -1_234_500, 100, 6),
        ("+230.1*V", 230_100, 100, 4),
        ("005.36*A", 5360, 10, 5),
        ("5360*mA", 5360, 1, 4),
        ("0.230123*V", 230, 1, 7),
        ("-0.0019*V", -1, 1, 5),
    ],
)
def test_known_decimals(text: str, milli: int, step: int, digits: int) -> None:
    assert exact(one("x", text)) == (milli, step, digits)


@pytest.mark.parametrize("text", ["", "*kWh", "1,5*kWh", "1.*kWh", ".5*kWh", "1e3*kWh", "0x10*kWh", "1*kvarh", "1", "1_0*kWh", "٣*kWh"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(BadBytes):
        exact(DataSet("1.8.0", f"({text})".encode("ascii", "replace")))


def test_a_register_finer_than_a_milliwatt_hour_is_refused() -> None:
    with pytest.raises(BadBytes, match="finer than a milliwatt-hour"):
        exact(one("1.8.0", "1.2345678*kWh"), whole=True)
    with pytest.raises(BadBytes, match="at most 18"):
        exact(one("1.8.0", "1" * 19 + "*kWh"))


@given(st.binary(max_size=200).map(lambda data: bytes(byte & 0x7F for byte in data)))
def test_any_block_of_text_raises_one_error(text: bytes) -> None:
    try:
        for data_set in parse_data_sets(text):
            exact(data_set)
    except BadBytes:
        pass


def test_addresses_are_read_in_every_spelling() -> None:
    sets = parse_data_sets(b"1-0:1.8.0*255(1*kWh)\r\n2.8.0(2*kWh)(3*kWh)\r\nP.01(4)(5)\r\n(6)\r\n")
    assert [(data_set.address, data_set.code) for data_set in sets] == [
        ("1-0:1.8.0*255", "1.8.0"),
        ("2.8.0", "2.8.0"),
        ("P.01", "P.01"),
        ("P.01", "P.01"),
    ]
    assert sets[1].raw == b"(2*kWh)(3*kWh)"
    assert sets[1].text == "2*kWh"


def test_a_load_profile_is_not_taken_for_a_readout() -> None:
    with pytest.raises(BadBytes, match="load profile"):
        parse_data_sets(b"1(2)\r\n" * (MAX_DATA_SETS + 1))


FULL = {
    "0.0.0": " 4711 ", "1.8.0": "10.000*kWh", "1.8.0*01": "9.000*kWh", "2.8.0": "0.500*kWh",
    "16.7.0": "1.5*kW", "31.7.0": "6.52*A", "32.7.0": "229.9*V", "C.5.0": "0000000B",
}  # fmt: skip


def test_a_whole_reading() -> None:
    reading = reading_of([one(*item) for item in FULL.items()], "WPrX", MOMENT, MeterMap())
    assert reading == reading._replace(
        serial="4711", identification="WPrX", import_milliwatt_hours=10_000_000, export_milliwatt_hours=500_000,
        step_milliwatt_hours=1000, register_digits=5, voltage_millivolts=229_900, current_milliamps=6520,
        power_milliwatts=1_500_000, read_at_s=1_700_000_000,
    )  # fmt: skip
    assert reading.status == Flag.TAMPER | Flag.POWER_FAIL | Flag.OVERCURRENT
    assert reading.details[0] == ("0.0.0", b"( 4711 )")
    assert len(reading.details) == len(FULL)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"0.0.0": ""}, "names no meter"),
        ({"1.8.0": "-1*kWh"}, "negative"),
        ({"1.8.0": "1*kvarh"}, "unit 'kvarh'"),
        ({"C.5.0": "xyz"}, "hexadecimal"),
        ({"C.5.0": "-1"}, "hexadecimal"),
    ],
)
def test_a_reading_that_cannot_be_is_refused(change: dict[str, str], says: str) -> None:
    with pytest.raises(BadBytes, match=says):
        reading_of([one(*item) for item in {**FULL, **change}.items()], "", MOMENT, MeterMap())


@pytest.mark.parametrize("missing", ["1.8.0", "16.7.0"])
def test_a_reading_without_register_or_power_is_refused(missing: str) -> None:
    sets = [one(*item) for item in FULL.items() if not item[0].startswith(missing)]
    with pytest.raises(BadBytes, match=f"does not show {missing}"):
        reading_of(sets, "", MOMENT, MeterMap())


def test_a_voltage_that_is_not_reported_is_none_in_a_sample_never_zero() -> None:
    assert sample_of([one("16.7.0", "0.0*kW")], "1", MOMENT, MeterMap()).voltage_millivolts is None
    assert sample_of([one("16.7.0", "0.0*kW"), one("32.7.0", "0.0*V")], "1", MOMENT, MeterMap()).voltage_millivolts == 0
