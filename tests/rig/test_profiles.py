"""Columns of real profiles, exactly; and files that are none."""

from pathlib import Path

import pytest
from wattproof_rig.profiles import ProfileError, load_profile

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "profiles_2016_15min.csv"


def test_a_quarter_hour_of_watt_hours_is_played_at_its_mean_power(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("start_utc,house_wh,pv_wh\na,69.2,0.0\nb,16.5,250.1\n")
    assert load_profile(f"{path}:house_wh").milliwatts == (276_800, 66_000)
    assert load_profile(f"{path}:pv_wh").milliwatts == (0, -1_000_400)
    assert load_profile(f"{path}:house_wh", "b").milliwatts == (66_000, 276_800)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("start_utc,house_wh\na,x\n", "line 2"),
        ("start_utc,house_wh\na,NaN\n", "line 2"),
        ("start_utc,house_wh\na,Infinity\n", "line 2"),
        ("start_utc,house_wh\na,1e30\n", "more than"),
        ("start_utc,house_wh\na\n", "line 2"),
        ("start_utc,house_wh\n", "0 slots"),
        ("", "no column"),
        ("start_utc,other_wh\na,1\n", "choose one of other_wh"),
    ],
)
def test_a_file_that_is_no_profile_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "some.csv"
    path.write_text(text)
    with pytest.raises(ProfileError, match=says):
        load_profile(f"{path}:house_wh")


def test_a_file_that_is_missing_or_binary(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"\xff\x00\xfe")
    for name in ("none.csv", "b.csv"):
        with pytest.raises(ProfileError, match="cannot read"):
            load_profile(f"{tmp_path / name}:x_wh")


@pytest.mark.skipif(not REAL.exists(), reason="the shared profiles of 2016 are not here")
def test_the_real_year_is_there_and_attributed() -> None:
    profile = load_profile(f"{REAL}:household_a_wh", "2016-01-01T00:15:00Z")
    assert len(profile.milliwatts) == 35_136
    assert profile.milliwatts[0] == 66_000
    assert "SimBench" in profile.note
    assert "Open Database License" in profile.note
    assert min(load_profile(f"{REAL}:pv_wh").milliwatts) < 0
