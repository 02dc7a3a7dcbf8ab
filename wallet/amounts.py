"""Money as people write it, in whole tokens, against micro-units as everything else counts it. Exact: no float."""

from __future__ import annotations

import re

MICRO = 1_000_000
MAX_MICRO = 2**64 - 1
"""What a policy can say, and more money than any wallet holds."""


def parse_micro(text: str) -> int:
    """`12.5` → 12500000. Raises `ValueError` for what is no amount, or finer than a micro-unit."""
    found = re.fullmatch(r"([0-9]{1,14})(?:\.([0-9]{1,6}))?", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no amount: write tokens such as 12 or 12.50, with at most 6 decimals")
    micro = int(found[1]) * MICRO + int((found[2] or "").ljust(6, "0"))
    if micro > MAX_MICRO:
        raise ValueError(f"{text!r} is more than the {MAX_MICRO} micro-units a wallet can count")
    return micro


def show_micro(micro: int) -> str:
    """12500000 → `12.50`: at least two decimals, and as many as are needed."""
    whole, rest = divmod(micro, MICRO)
    digits = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{whole:,}.{digits}"
