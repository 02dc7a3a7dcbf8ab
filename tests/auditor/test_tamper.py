"""Any field changed, any bytes: never "all pass", the check that fails is the one named for the field, and nothing raises."""

from __future__ import annotations

import copy
import random
import re
import zlib
from collections.abc import Iterator
from pathlib import Path as PathOf
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.links_file import Checkpoint, Header, anchor_line, checkpoint_line, header_line, key_line, read_links
from auditor.report import Report, Verdict
from auditor.trust import key_heads
from auditor.verify import verify
from protocol import packed
from protocol.bundle import bundle_document, encode_bundle
from protocol.errors import Malformed
from protocol.hashing import ZERO32

from .make_bundle import Evidence

SCENE = Evidence(records=4, per_frame=2, epoch_frames=3)
PAYMENT = Evidence(records=4, per_frame=2, epoch_frames=3, metered=False)
GOOD = bundle_document(SCENE.bundle())
Path = tuple[str | int, ...]

NAMED = [
    (r"format|version", {"form"}),
    (r"session/(session|terms|chainId|escrow)\b", {"session-id"}),
    (r"session/registry", {"key-events"}),
    (r"session/anchorLog", {"links"}),
    (r"session/openedAtS", {"arithmetic"}),
    (r"session/(device|channel|pointSalt)", {"point"}),
    (r"session/serviceKey", {"receipts"}),
    (r"session/(first|last)Sequence", {"arithmetic", "sequence"}),
    (r"tariff", {"tariff"}),
    (r"bill", {"arithmetic"}),
    (r"charge", {"charge"}),
    (r"voucher", {"charge-key"}),
    (r"claimedMicro", {"claim"}),
    (r"tail/amountMicro", {"tail"}),
    (r"links/\d+/(previousHead|links)", {"links"}),
    (r"links/\d+/anchorer", {"links"}),
    (r"keyEvents", {"key-events"}),
    (r"frames/\d+/(link|path)", {"epoch-inclusion"}),
    (r"frames/\d+/frame/signature", {"frame-signatures"}),
    (r"frames/\d+/frame/records/\d+/sequence", {"sequence"}),
    (r"frames/\d+/frame/records", {"record-hashes"}),
    (r"frames/\d+/frame", {"frame-signatures"}),
    (r"receipts", {"receipts"}),
    (r"ocmf", {"ocmf"}),
]
ASSERTED = {
    "session/lockMicro", "session/ratedWatts", "session/registerModulusMilliwattHours", "session/operator", "tail/name",
}  # fmt: skip
"""What only the chain can tell (`chain-facts`, never a pass here), or free text beside an amount of zero."""


def leaves(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(node, dict | list):
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(inner, (*path, key))
    else:
        yield path, node


def put(document: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


def flipped(value: Any, choose: random.Random) -> Any:
    """The value with one bit of it changed."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1 if value == 0 else value ^ (1 << choose.randrange(max(1, value.bit_length() - 1)))
    if value is None:
        return 1
    place = choose.randrange(2, len(value)) if value.startswith("0x") else choose.randrange(len(value))
    return value[:place] + ("0123456789abcdef".replace(value[place], "")[choose.randrange(15)]) + value[place + 1 :]


def audited(document: dict[str, Any], scene: Evidence = SCENE) -> Report:
    return verify(packed.pack(document), scene.kept(), processes=1)


def not_passed(report: Report) -> set[str]:
    return {check.name for check in report.checks if check.verdict is not Verdict.PASS and check.name != "chain-facts"}


@pytest.mark.parametrize("scene", [SCENE, PAYMENT], ids=["metered", "payment"])
def test_every_field_flipped_is_noticed_by_the_check_named_for_it(scene: Evidence) -> None:
    document = bundle_document(scene.bundle())
    choose = random.Random(7)
    seen = 0
    for path, value in leaves(document):
        name = "/".join(map(str, path))
        if name in ASSERTED or value is None or value == "":
            continue
        change = value + 1 if name == "claimedMicro" else flipped(value, choose)
        report = audited(put(document, path, change), scene)
        expected = next(names for pattern, names in NAMED if re.match(pattern, name))
        found = not_passed(report)
        assert found & (expected | {"form"}), f"{name}: {value!r} → {change!r}, and only {found} noticed"
        assert report.exit_code or name in ("session/registry", "session/anchorLog"), name
        seen += 1
    assert seen > 150


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_any_byte_of_the_text_flipped_is_never_all_pass(data: st.DataObject) -> None:
    text = bytearray(TEXT)
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] ^= data.draw(st.integers(1, 255))
    report = verify(bytes(text), SCENE.kept(), processes=1)
    if not report.exit_code:
        changed = packed.load(bytes(text))
        ours = {"/".join(map(str, path)): value for path, value in leaves(GOOD)}
        theirs = {"/".join(map(str, path)): value for path, value in leaves(changed)}
        moved = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
        asked = ASSERTED | {"session/registry", "session/anchorLog", "claimedMicro"}
        assert moved <= asked, moved


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.just("0x" + "00" * 32),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NODES = sorted({path[:n] for path, _ in leaves(GOOD) for n in range(1, len(path) + 1)}, key=str)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NODES), JSON), min_size=1, max_size=3))
def test_whatever_stands_in_a_field_there_is_a_report(changes: list[tuple[Path, Any]]) -> None:
    document = GOOD
    for path, value in changes:
        try:
            document = put(document, path, value)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took that place away
    try:
        raw = packed.pack(document)
    except TypeError:
        return  # an integer that JSON writers here refuse
    report = verify(raw, SCENE.kept(), processes=1)
    assert [check.name for check in report.checks]
    assert report.document()["exitCode"] == report.exit_code


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600), st.integers(0, 2_000))
def test_random_and_damaged_bytes_are_reported_as_form(noise: bytes, place: int) -> None:
    raw = PACKED[:place] + noise + PACKED[place + len(noise) :]
    for candidate in (noise, b"{" + noise, raw):
        report = verify(candidate)
        if candidate != PACKED:
            assert report.verdict_of("form") is Verdict.FAIL or not noise or candidate[:10] != PACKED[:10]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=300), place=st.integers(0, 1_500))
def test_any_bytes_as_a_file_of_links_are_refused_in_one_way_or_read(noise: bytes, place: int, tmp_path: PathOf) -> None:
    path = tmp_path / "links"
    for raw in (noise, LINKS[:place] + noise + LINKS[place + len(noise) :], LINKS + noise):
        path.write_bytes(raw)
        try:
            kept = read_links(path)
        except Malformed:
            continue
        assert kept.all_heads <= KEPT_HEADS


def test_a_pretty_printed_file_reads_the_same() -> None:
    import json

    pretty = json.dumps(GOOD, indent=1).encode()
    assert verify(pretty, SCENE.kept()) == verify(PACKED, SCENE.kept())


def test_keys_written_twice_among_the_frames_are_refused() -> None:
    for old, new in (
        (b'"link":', b'"link":0,"link":'),
        (b'"count":', b'"count":9,"count":'),
        (b'"flags":', b'"flags":1,"flags" :'),
        (b'"link":', b'"link":0, "link":'),
    ):
        report = verify(TEXT.replace(old, new, 1), SCENE.kept())
        assert report.verdict_of("form") is Verdict.FAIL
        assert "twice" in report.checks[0].detail


def test_a_frames_list_inside_another_document_is_not_taken_for_the_frames() -> None:
    bundle = SCENE.bundle()
    inner = packed.load(TEXT)["frames"]
    decoy = bundle._replace(agreement={"frames": inner, "conflicts": []})
    report = verify(encode_bundle(decoy), SCENE.kept())
    assert report.verdict_of("form") is Verdict.PASS
    assert {check.name for check in report.failed} == {"agreement"}


def kept_lines() -> bytes:
    """A file of links with everything of the scene, as `sync` writes it (its chains begin at zero)."""
    head, lines, links = ZERO32, [], []
    header = Header(31337, ZERO32, SCENE.registry, SCENE.anchor_log, 0)
    for link in SCENE.links[:3]:
        links.append(link._replace(previous_head=head))
        head = links[-1].head
        lines.append(anchor_line(links[-1]))
    KEPT_HEADS.update(link.head for link in links)
    event = SCENE.key_events[0]
    keys = key_line(SCENE.device, event, key_heads(SCENE.device, [event])[0])
    return header_line(header) + b"".join(lines) + keys + checkpoint_line(Checkpoint(9, ZERO32, 9))


PACKED = encode_bundle(SCENE.bundle())
TEXT = zlib.decompress(PACKED, 31)
KEPT_HEADS = set(key_heads(SCENE.device, SCENE.key_events))
LINKS = kept_lines()
