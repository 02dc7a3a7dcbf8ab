"""A large file is cut up while it is still being unpacked; whatever is odd about it, the report is the one that reading it whole gives."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest

from auditor.reading import Unpacking, open_bundle, read_slice
from auditor.report import Verdict
from auditor.verify import verify
from protocol import packed
from protocol.bundle import Bundle, Erasure, HiddenRecord, encode_bundle
from protocol.evidence import Record, record_hash

from .make_bundle import Evidence

SCENE = Evidence(records=1_500, real_trees=False)
BUNDLE = SCENE.bundle()
RAW = encode_bundle(BUNDLE)
MARK = '"frames":[{"frame":{"device":'


def hidden() -> bytes:
    frames = list(BUNDLE.frames)
    for i in range(300, 900):
        record = frames[i].records[0]
        assert isinstance(record, Record)
        frames[i] = frames[i]._replace(records=(HiddenRecord(i, record_hash(record)),), details=((),))
    return encode_bundle(BUNDLE._replace(frames=tuple(frames), erasures=(Erasure(300, 899, SCENE.start_s, "a rule"),)))


def written(change: Callable[[dict[str, Any]], None]) -> bytes:
    document = packed.unpack(RAW)
    change(document)
    return packed.pack(document)


def marked(bundle: Bundle) -> bytes:
    """A foreign document before the frames holds what looks like their beginning."""
    return encode_bundle(bundle._replace(agreement={"frames": [{"frame": {"device": "x"}}], "conflicts": []}))


def replaced(old: str, new: str) -> bytes:
    text = packed.inflate(RAW).decode()
    place = text.index(MARK) + len(text) // 2
    return gzip.compress((text[:place] + text[place:].replace(old, new, 1)).encode(), 1)


CASES: dict[str, Callable[[], bytes]] = {
    "good": lambda: RAW,
    "hidden records": hidden,
    "the marker in a foreign document": lambda: marked(BUNDLE),
    "frames twice": lambda: gzip.compress(packed.inflate(RAW)[:-1] + b',"frames":[{"frame":{"device":1}}],"conflicts":[]}'),
    "frames inside another document": lambda: written(lambda d: d.update(zzz={"frames": d["frames"], "conflicts": []}, frames=[])),
    "no frames": lambda: written(lambda d: d.update(frames=[])),
    "no list of frames": lambda: written(lambda d: d.update(frames="x" * 2_000_000)),
    "pretty": lambda: gzip.compress(packed.inflate(RAW).replace(b'},{"frame":{', b'}, {"frame": {'), 1),
    "an unknown field": lambda: replaced('"sequence":', '"extra":1,"sequence":'),
    "a field twice": lambda: replaced('"sequence":', '"channel":1,"sequence":'),
    "upper case": lambda: replaced('"salt":"0x', '"salt":"0XA'),
    "another number": lambda: replaced('"flags":0', '"flags":1'),
    "a number too large": lambda: replaced('"flags":0', '"flags":4294967296'),
    "no conflicts after the frames": lambda: replaced('],"conflicts":[', '],"conflict":['),
    "cut short": lambda: RAW[:-9],
    "cut in the middle": lambda: RAW[: len(RAW) * 3 // 4],
    "more after the end": lambda: RAW + b"more",
    "another size than it says": lambda: RAW[:-4] + b"\0\0\1\0",
    "a larger size than it says": lambda: RAW[:-4] + b"\xff" * 4,
    "damaged": lambda: RAW[: len(RAW) // 2] + b"\0\0\0\0" + RAW[len(RAW) // 2 + 4 :],
    "not gzip at all": lambda: b"x" * len(RAW),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_cut_while_unpacking_or_read_whole_the_report_is_the_same(case: str) -> None:
    raw = CASES[case]()
    assert Unpacking.suits(raw) is (case not in ("no frames", "no list of frames"))
    together, alone = (verify(raw, SCENE.kept(), processes=n).document() for n in (2, 1))
    assert together == alone
    assert (together["verdict"] == "pass") is (case in ("good", "hidden records", "pretty"))


@pytest.mark.parametrize("case", CASES)
def test_a_guess_that_stands_has_the_same_slices(case: str) -> None:
    raw = CASES[case]()
    unpacking = Unpacking(raw)
    found = list(unpacking.slices())
    if unpacking.opened is None:
        assert case not in ("good", "hidden records")
        return
    whole = open_bundle(raw)
    assert unpacking.opened.slices == found == whole.slices
    assert unpacking.opened.rest == whole.rest
    if case == "good":
        assert len(found) > 3
        assert [read_slice(unpacking.opened.source, part) for part in found] == [read_slice(whole.source, part) for part in whole.slices]


def test_hidden_records_of_a_large_file_are_erased_not_failed() -> None:
    assert verify(hidden(), SCENE.kept(), processes=2).verdict_of("erasures") is Verdict.ERASED
