"""Amounts as people write them: exact both ways, and nothing else is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.amounts import MAX_MICRO, parse_micro, show_micro


@given(st.integers(0, MAX_MICRO))
def test_what_is_shown_reads_back_as_the_same_amount(micro: int) -> None:
    assert parse_micro(show_micro(micro).replace(",", "")) == micro


@pytest.mark.parametrize("text", ["", "-1", "1.", ".5", "1e3", "1,5", "0x10", "1.0000001", "٣", "NaN", "18446744073709.551616"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount|micro-units"):
        parse_micro(text)
