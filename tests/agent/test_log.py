"""The log: whole entries or none, whatever byte a crash stops at; damage is never taken for a torn tail."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onsite.errors import LogDamaged, LogFailed
from onsite.log import MAGIC, Position, SegmentLog, read_segment, segment_path, segments


def payloads(log: SegmentLog, start: Position | None = None) -> list[bytes]:
    return [payload for _, payload in log.read(start)]


def open_log(directory: Path, **options: int) -> SegmentLog:
    return SegmentLog(directory, lambda: b"checkpoint", **options)


def test_entries_come_back_in_order_and_positions_lead_on(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    places = [log.append(bytes([i]) * (i + 1)) for i in range(10)]
    assert payloads(log) == [b"checkpoint"] + [bytes([i]) * (i + 1) for i in range(10)]
    assert payloads(log, places[6]) == [bytes([i]) * (i + 1) for i in (7, 8, 9)]
    log.close()
    again = open_log(tmp_path)
    assert again.end == places[-1]
    assert again.cut_bytes == 0
    again.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=4), st.data())
def test_a_crash_at_any_byte_leaves_whole_entries(
    tmp_path_factory: pytest.TempPathFactory, entries: list[bytes], data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("log")
    log = open_log(directory)
    first = log.end.offset
    ends = [log.append(entry).offset for entry in entries]
    log.close()
    path = segment_path(directory, 1)
    length = data.draw(st.integers(first, path.stat().st_size))
    tail = data.draw(st.sampled_from([b"", b"\x00" * 40, b"\xff" * 7]))  # what file systems leave after a power cut
    with path.open("r+b") as stream:
        stream.truncate(length)
        stream.seek(length)
        stream.write(tail)
    log = open_log(directory)
    whole = [entry for entry, end in zip(entries, ends, strict=True) if end <= length]
    assert payloads(log) == [b"checkpoint", *whole]
    assert log.cut_bytes == length + len(tail) - (ends[len(whole) - 1] if whole else first)
    log.append(b"after")
    assert payloads(log)[-1] == b"after"
    log.close()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_changed_byte_before_whole_entries_is_damage(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("log")
    log = open_log(directory)
    ends = [log.append(b"entry %d" % i).offset for i in range(4)]
    log.close()
    path = segment_path(directory, 1)
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(len(MAGIC), ends[2] - 1))  # marks, lengths, checksums and payloads alike
    raw[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    with pytest.raises(LogDamaged, match="a whole entry follows"):
        open_log(directory)


def test_segments_begin_with_a_checkpoint_and_old_ones_can_go(tmp_path: Path) -> None:
    log = open_log(tmp_path, segment_bytes=200)
    for i in range(40):
        log.append(b"%03d" % i * 5)
    numbers = segments(tmp_path)
    assert len(numbers) > 3
    assert [p for p in payloads(log) if p != b"checkpoint"] == [b"%03d" % i * 5 for i in range(40)]
    third = Position(numbers[2], 0)
    assert log.drop_before(third, time.time() - 60) == 0  # young
    for number in numbers:
        os.utime(segment_path(tmp_path, number), (0, 0))
    assert log.drop_before(third, time.time() - 60) == 2
    assert segments(tmp_path) == numbers[2:]
    assert log.drop_before(Position(10**6, 0), time.time()) == len(numbers) - 3  # never the one being written
    log.close()
    open_log(tmp_path).close()


@pytest.mark.parametrize("content", [b"", MAGIC[:3], MAGIC, MAGIC + b"\x00\x00\x00\x0acrc", b"\x00" * 64])
def test_a_crash_while_a_segment_begins_falls_back_to_the_one_before(tmp_path: Path, content: bytes) -> None:
    log = open_log(tmp_path)
    log.append(b"kept")
    log.close()
    segment_path(tmp_path, 2).write_bytes(content)
    log = open_log(tmp_path)
    assert payloads(log) == [b"checkpoint", b"kept"]
    assert segments(tmp_path) == [1]
    log.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    with pytest.raises(LogFailed, match="in use"):
        open_log(tmp_path)
    log.close()


def test_a_file_that_is_no_segment_is_not_touched(tmp_path: Path) -> None:
    segment_path(tmp_path, 7).write_bytes(b"a letter to somebody, not a log")
    with pytest.raises(LogDamaged, match="does not begin"):
        open_log(tmp_path)
    assert segment_path(tmp_path, 7).exists()
    shutil.rmtree(tmp_path)


def test_a_reader_beside_the_agent_calls_a_foreign_file_damage(tmp_path: Path) -> None:
    open_log(tmp_path).close()
    segment_path(tmp_path, 1).write_bytes(b"another program's file" * 9)
    with pytest.raises(LogDamaged, match="does not begin"):
        list(read_segment(tmp_path, 1, len(MAGIC), None, torn_ends=True))
