"""The mode C core: the dialogue of the standard, and that no bytes whatever raise anything but one error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter_agent.line.errors import BadBytes
from meter_agent.line.framing import block, check_character
from meter_agent.line.iec62056 import (
    MAX_BLOCK,
    TABLE,
    Accepted,
    DataBlock,
    Hello,
    Identification,
    IllegalStep,
    ModeC,
    Refused,
    State,
    Step,
)

READOUT = block(b"\x02C.1.0(4711)\r\n1.8.0(000123.456*kWh)\r\n32.7.0(230.1*V)\r\n!\r\n")


def at(state: State) -> ModeC:
    """A conversation that has got as far as `state`."""
    core = ModeC()
    if state is State.HUNG_UP:
        return core
    core.sign_on()
    if state is State.SIGNING_ON:
        return core
    core.receive(b"/WPr6RIG\r\n")
    if state is State.READING_OUT:
        core.select_readout()
    if state in (State.IDENTIFIED, State.READING_OUT):
        return core
    core.select_programming()
    if state is State.ENTERING:
        return core
    core.receive(block(b"\x01P0\x02(4711)"))
    if state is State.LOCKED:
        return core
    core.password("00000000")
    if state is State.UNLOCKING:
        return core
    core.receive(b"\x06")
    if state is State.ASKING:
        core.ask("1.8.0")
    return core


def test_the_dialogue_byte_for_byte() -> None:
    core = ModeC()
    assert core.sign_on("4711") == b"/?4711!\r\n"
    assert core.receive(b"\x00\x7f/WPr") is None  # wake-up noise, and a message in two bursts
    assert core.receive(b"6RIG-1\r\n") == Identification("WPrRIG-1", "6", 19200, 0.020)
    assert core.select_readout() == b"\x06060\r\n"
    event = core.receive(READOUT)
    assert isinstance(event, DataBlock)
    assert [(one.address, one.raw) for one in event.data_sets] == [
        ("C.1.0", b"(4711)"),
        ("1.8.0", b"(000123.456*kWh)"),
        ("32.7.0", b"(230.1*V)"),
    ]
    core.sign_on()
    core.receive(b"/ABC5\\2X\r\n")
    assert core.select_programming() == b"\x06051\r\n"
    assert core.receive(b"\x01P0\x02()\x03\x60") == Hello("()")  # the standard's own example of a block check
    assert core.password("00000000") == b"\x01P1\x02(00000000)\x03\x61"
    assert core.receive(b"\x06") == Accepted()
    assert core.ask("16.7.0") == block(b"\x01R5\x0216.7.0()")
    assert core.receive(block(b"\x02(01.5*kW)")) == DataBlock([("16.7.0", b"(01.5*kW)")])  # address left out
    assert core.hang_up() == b"\x01B0\x03\x71"
    assert core.state is State.HUNG_UP


def test_a_meter_of_the_slow_kind_gets_its_200_ms() -> None:
    core = ModeC()
    core.sign_on()
    event = core.receive(b"/WPR5X\r\n")
    assert isinstance(event, Identification)
    assert event.reaction_s == 0.200


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("step", ["sign_on", "select_readout", "select_programming", "password", "ask"])
def test_what_the_table_does_not_allow_cannot_be_sent(state: State, step: str) -> None:
    core = at(state)
    arguments = {"password": ["x"], "ask": ["1.8.0"]}.get(step, [])
    if (state, Step[step.upper()]) in TABLE:
        getattr(core, step)(*arguments)
        return
    with pytest.raises(IllegalStep, match=state.name):
        getattr(core, step)(*arguments)
    assert core.state is state


@given(st.sampled_from(list(State)), st.lists(st.binary(min_size=1, max_size=60), max_size=6))
def test_any_bytes_in_any_state_raise_one_error(state: State, bursts: list[bytes]) -> None:
    core = at(state)
    for burst in bursts:
        try:
            core.receive(burst)
        except BadBytes:
            assert core.state in (State.HUNG_UP, State.OPEN)


text = st.text(st.characters(min_codepoint=1, max_codepoint=126, exclude_characters="\x03"), max_size=60).map(str.encode)


@given(
    st.sampled_from([State.READING_OUT, State.ENTERING, State.UNLOCKING, State.ASKING]),
    st.sampled_from([b"\x02", b"\x01P0\x02", b"\x01B0", b"\x01R5\x02", b"\x021.8.0"]),
    text,
    st.booleans(),
)
def test_well_framed_rubbish_raises_one_error(state: State, start: bytes, body: bytes, ends: bool) -> None:
    core = at(state)
    try:
        core.receive(block(start + body + (b"!\r\n" if ends else b"")))
    except BadBytes:
        assert core.state in (State.HUNG_UP, State.OPEN)


@given(st.integers(0, len(READOUT) - 1), st.integers(1, 127))
def test_any_changed_byte_of_a_readout_is_noticed(place: int, change: int) -> None:
    core = at(State.READING_OUT)
    damaged = READOUT[:place] + bytes([READOUT[place] ^ change]) + READOUT[place + 1 :]
    event = None
    try:
        event = core.receive(damaged)
    except BadBytes:
        return
    assert event is None  # an end that no longer is one: the shell's deadline ends that


@given(st.integers(0, len(READOUT) - 1))
def test_a_readout_in_any_two_bursts_is_the_same(place: int) -> None:
    core = at(State.READING_OUT)
    assert core.receive(READOUT[:place]) is None
    event = core.receive(READOUT[place:])
    assert isinstance(event, DataBlock)
    assert len(event.data_sets) == 3


@pytest.mark.parametrize(
    ("state", "data", "says"),
    [
        (State.SIGNING_ON, b"x" * 65, "no message in them"),
        (State.SIGNING_ON, b"/" + b"x" * 65, "no identification"),
        (State.SIGNING_ON, b"/WPrARIG\r\n", "baud character 'A'"),
        (State.SIGNING_ON, b"/1236RIG\r\n", "no identification"),
        (State.SIGNING_ON, b"/WPr6RI\xc3\r\n", "eight bits"),
        (State.READING_OUT, READOUT[:-1] + b"\x00", "block check"),
        (State.READING_OUT, b"\x02" + b"x" * MAX_BLOCK, "without an end"),
        (State.READING_OUT, b"\x02abc\x04", "partial blocks"),
        (State.READING_OUT, block(b"\x021.8.0(1*kWh)\r\n"), "does not end in"),
        (State.READING_OUT, block(b"\x021.8.0 1*kWh\r\n!\r\n"), "line 1"),
        (State.READING_OUT, block(b"\x02C.1.0(1)\r\n1.8.0((2))\r\n!\r\n"), "line 2"),
        (State.READING_OUT, b"\x06", "sent ack while reading out"),
        (State.ASKING, block(b"\x0232.7.0(230.0*V)"), r"asked for 1\.8\.0"),
        (State.ASKING, block(b"\x01X9\x02"), "unknown command"),
        (State.OPEN, b"x", "nobody asked"),
    ],
)
def test_bad_bytes_say_what_is_wrong(state: State, data: bytes, says: str) -> None:
    with pytest.raises(BadBytes, match=says):
        at(state).receive(data)


def test_one_damaged_answer_does_not_end_the_session() -> None:
    core = at(State.ASKING)
    answer = block(b"\x021.8.0(000123.456*kWh)")
    with pytest.raises(BadBytes):
        core.receive(answer[:-1] + bytes([answer[-1] ^ 1]))
    assert core.state is State.OPEN
    core.ask("1.8.0")
    assert isinstance(core.receive(answer), DataBlock)


@pytest.mark.parametrize(
    ("state", "data", "after"),
    [
        (State.ASKING, block(b"\x02(ER02 address)"), State.OPEN),
        (State.ASKING, b"\x15", State.OPEN),
        (State.ASKING, block(b"\x01B0"), State.HUNG_UP),
        (State.ENTERING, block(b"\x01B0"), State.HUNG_UP),
        (State.ENTERING, READOUT, State.HUNG_UP),
        (State.UNLOCKING, b"\x15", State.HUNG_UP),
        (State.UNLOCKING, block(b"\x02(ER01)"), State.HUNG_UP),
    ],
)
def test_refusals_and_where_they_leave_us(state: State, data: bytes, after: State) -> None:
    core = at(state)
    event = core.receive(data)
    assert isinstance(event, Refused)
    assert event.hung_up is (after is State.HUNG_UP)
    assert core.state is after


def test_the_block_check_of_the_standards_example() -> None:
    assert check_character(b"B0\x03") == 0x71
