"""Numbers as people read them, and CSV that no spreadsheet runs."""

import csv
import hashlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.reports import words
from backend.reports.csv_text import csv_lines, guarded

VENDOR = Path(__file__).parents[2] / "backend" / "console" / "static" / "vendor"


@pytest.mark.parametrize(
    ("micro", "text"), [(0, "0.00"), (1, "0.000001"), (1_234_500, "1.2345"), (-50_000, "−0.05"), (12_345_678_900_000, "12 345 678.90")]
)
def test_money_is_exact(micro: int, text: str) -> None:
    assert words.money(micro).replace("\u202f", " ") == text


@given(st.integers(-(10**15), 10**15))
def test_money_and_energy_lose_nothing(units: int) -> None:
    for text in (words.money(units), words.energy(units).removesuffix(" kWh")):
        plain = text.replace("\u202f", "").replace("−", "-")
        whole, _, rest = plain.lstrip("-").partition(".")
        assert int(whole) * 10**6 + int(rest.ljust(6, "0")) == abs(units)
        assert plain.startswith("-") == (units < 0)


@pytest.mark.parametrize(("milliwatts", "text"), [
    (0, "0.0 W"), (49, "0.0 W"), (50, "0.1 W"), (1_234_567, "1 234.6 W"), (-2_300_000, "−2 300.0 W"), (11_040_000, "11.04 kW"),
])  # fmt: skip
def test_power_is_rounded_like_a_meter(milliwatts: int, text: str) -> None:
    assert words.power(milliwatts).replace("\u202f", " ") == text


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "0 s"), (59, "59 s"), (60, "1 min"), (3_725, "1 h 2 min"), (86_400, "1 d"), (90_000, "1 d 1 h"), (3_605, "1 h"),
])  # fmt: skip
def test_spans(seconds: int, text: str) -> None:
    assert words.span(seconds) == text


def test_ago_and_ahead() -> None:
    assert words.ago(100, 160) == "1 min ago"
    assert words.ago(160, 100) == "in 1 min"
    assert words.ago(100, 101) == "now"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =cmd|' /C calc'!A0", "＝1+1", "\0=1"])
def test_a_formula_is_never_a_cell(text: str) -> None:
    assert guarded(text).startswith("'")


@given(st.lists(st.lists(st.one_of(st.text(), st.integers(), st.binary(), st.none(), st.booleans()), min_size=2, max_size=2), max_size=5))
def test_csv_reads_back_as_its_guarded_cells(rows: list[list[str | int | bytes | None]]) -> None:
    text = "".join(csv_lines(["a", "b"], rows))
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read == [["a", "b"]] + [[guarded(cell) for cell in row] for row in rows]
    for row in read[1:]:
        for cell, value in zip(row, rows[read.index(row) - 1], strict=True):
            assert isinstance(value, int) or not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))


def test_files_of_others_are_unchanged_and_licensed() -> None:
    listed = json.loads((VENDOR / "manifest.json").read_text())["files"]
    for entry in listed:
        assert hashlib.sha256((VENDOR / entry["file"]).read_bytes()).hexdigest() == entry["sha256"], entry["file"]
        assert "ermission to use" in (text := (VENDOR / entry["licenceFile"]).read_text()) or "Permission is hereby granted" in text
    known = {entry["file"] for entry in listed} | {entry["licenceFile"] for entry in listed} | {"manifest.json"}
    assert {path.name for path in VENDOR.iterdir()} == known
