"""The bundle as a file: it comes back as it went, it stays small, and no bytes break its reader."""

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import packed
from protocol.bundle import bundle_document, decode_bundle, encode_bundle
from protocol.errors import Malformed

from .make_bundle import Evidence


@pytest.mark.parametrize("metered", [True, False])
def test_it_comes_back_as_it_went(metered: bool) -> None:
    bundle = Evidence(records=20, per_frame=3, metered=metered).bundle()
    packed_bytes = encode_bundle(bundle)
    assert decode_bundle(packed_bytes) == bundle
    assert encode_bundle(decode_bundle(packed_bytes)) == packed_bytes
    assert decode_bundle(zlib.decompress(packed_bytes, 31)) == bundle  # the bare JSON too


def test_a_month_of_quarter_hours_fits() -> None:
    month = Evidence(records=2_975, per_frame=1, epoch_frames=1_000, real_trees=False)
    size = len(encode_bundle(month.bundle()))
    assert size <= 2_500_000, size


@settings(deadline=None)
@given(st.binary(max_size=2_000))
def test_random_bytes_are_refused_in_one_way(raw: bytes) -> None:
    for candidate in (raw, b"{" + raw, gzip.compress(raw)):
        with pytest.raises(Malformed):
            decode_bundle(candidate)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_file_with_any_byte_changed_decodes_to_something_else_or_is_refused(data: st.DataObject) -> None:
    bundle = SMALL
    text = bytearray(SMALL_TEXT)
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Malformed):
        assert decode_bundle(bytes(text)) != bundle


def test_a_key_written_twice_is_refused() -> None:
    text = SMALL_TEXT.replace(b'"claimedMicro":', b'"claimedMicro":0,"claimedMicro":', 1)
    with pytest.raises(Malformed, match="twice"):
        decode_bundle(text)


def test_bombs_are_refused_at_the_stated_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "MAX_JSON_BYTES", 1 << 20)
    with pytest.raises(Malformed, match="unpacks to more than"):
        decode_bundle(gzip.compress(b'{"a":"' + bytes(8 << 20)))
    monkeypatch.setattr(packed, "MAX_JSON_VALUES", 1_000)
    with pytest.raises(Malformed, match="values"):
        decode_bundle(b'{"a":[' + b"[]," * 2_000 + b"[]]}")
    with pytest.raises(Malformed):
        decode_bundle(b'{"a":' + b"[" * 100_000)
    with pytest.raises(Malformed, match="after the end"):
        decode_bundle(gzip.compress(b"{}") + b"x")
    with pytest.raises(Malformed, match="cut short"):
        decode_bundle(gzip.compress(b"{}")[:-3])


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("session", "lockMicro"), 1.0, "session.lockMicro"),
        (("session", "lockMicro"), 2**53, "session.lockMicro"),
        (("session", "terms", "metered"), 1, "session.terms.metered"),
        (("session", "device"), "0xAB" + "00" * 31, "session.device"),
        (("frames", 0, "link"), -1, "frames[0].link"),
        (("frames", 1, "frame", "records", 0, "flags"), True, "frames[1].frame.records[0].flags"),
        (("links", 0, "links", 0), [], "links[0].links[0]"),
        (("version",), 2, "version"),
    ],
)
def test_a_wrong_field_is_named(path: tuple[str | int, ...], value: object, named: str) -> None:
    document = bundle_document(SMALL)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(Malformed) as caught:
        decode_bundle(packed.pack(document))
    assert caught.value.where == named


SMALL = Evidence(records=3).bundle()
SMALL_TEXT = zlib.decompress(encode_bundle(SMALL), 31)
