"""Links of anchor chains inside a bundle: runs of links that follow each other, so that a head that can be computed is not written."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

from .bundle_parts import AnchorLink
from .eip712 import MAX_JSON_INTEGER, canonical_hex
from .errors import Malformed
from .hashing import keccak_of
from .wire import keys_problem

_RUN_KEYS = frozenset(("anchorer", "previousHead", "links"))


class _ReadLinks(tuple[AnchorLink, ...]):
    """Links as read, with the heads that reading them computed."""

    heads: list[bytes]


def link_heads(links: Sequence[AnchorLink]) -> list[bytes]:
    """The head after each link; of links that `read_links` made without hashing them again."""
    return links.heads if isinstance(links, _ReadLinks) else [link.head for link in links]


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()


def write_links(links: Sequence[AnchorLink]) -> list[dict[str, Any]]:
    """Links as runs."""
    runs: list[dict[str, Any]] = []
    anchorer, head = b"", b""
    for link in links:
        if not runs or link.anchorer != anchorer or link.previous_head != head:
            runs.append({"anchorer": _hex(link.anchorer), "previousHead": _hex(link.previous_head), "links": []})
        row = [_hex(link.root), link.time_s, link.block_number]
        runs[-1]["links"].append(row if link.transaction is None else [*row, _hex(link.transaction)])
        anchorer, head = link.anchorer, link.head
    return runs


def read_links(document: Any, where: str, max_runs: int, max_links: int) -> tuple[AnchorLink, ...]:
    """Links from their runs, each previous head computed. Raises `Malformed` naming the first link that is wrong."""
    if type(document) is not list or len(document) > max_runs:
        raise Malformed(f"must be a list of at most {max_runs} items", where)
    links: list[AnchorLink] = []
    heads: list[bytes] = []
    for i, run in enumerate(document):
        if type(run) is not dict or run.keys() != _RUN_KEYS:
            raise Malformed(keys_problem(run, _RUN_KEYS), f"{where}[{i}]")
        rows = run["links"]
        if type(rows) is not list or len(rows) > max_links - len(links):
            raise Malformed(f"must be a list of at most {max_links} items in all", f"{where}[{i}].links")
        anchorer = canonical_hex(run["anchorer"], 20, f"{where}[{i}].anchorer")
        head = canonical_hex(run["previousHead"], 32, f"{where}[{i}].previousHead")
        found, after = _read_run(rows, anchorer, head, f"{where}[{i}].links")
        links += found
        heads += after
    read = _ReadLinks(links)
    read.heads = heads
    return read


def _read_run(rows: list[Any], anchorer: bytes, head: bytes, where: str) -> tuple[Iterable[AnchorLink], list[bytes]]:
    """A year of epochs has a hundred thousand links, so they are read column by column; the slow look only names what is wrong."""
    try:
        roots = hashes_from([row[0] for row in rows])
        found = iter(hashes_from([row[3] for row in rows if len(row) == 4]))
        times = struct.pack(f">{len(rows)}Q", *[row[1] for row in rows])
        good = all([
            type(row) is list and 3 <= len(row) <= 4 and type(row[1]) is type(row[2]) is int and 0 <= row[1] <= MAX_JSON_INTEGER
            and 0 <= row[2] <= MAX_JSON_INTEGER
            for row in rows
        ])  # fmt: skip
    except (ValueError, TypeError, LookupError, AttributeError, struct.error):
        good = False
    if not good:
        for i, row in enumerate(rows):
            _name_problem(row, f"{where}[{i}]")
        raise Malformed("cannot be read", where)
    heads = [head]
    for i, root in enumerate(roots):
        head = keccak_of(head + root + times[8 * i : 8 * i + 8]).digest()
        heads.append(head)
    transactions = [next(found) if len(row) == 4 else None for row in rows]
    seconds, blocks = [row[1] for row in rows], [row[2] for row in rows]
    return map(AnchorLink, repeat(anchorer), heads, roots, seconds, blocks, transactions), heads[1:]


def hashes_from(texts: list[Any]) -> list[bytes]:
    """Canonical texts of 32 bytes each; ValueError or TypeError if one is not."""
    if not texts:
        return []
    text = ",".join(texts)
    raw = bytes.fromhex(text.replace("0x", "").replace(",", ""))
    if len(raw) != 32 * len(texts) or text != "0x" + raw.hex(",", 32).replace(",", ",0x"):
        raise ValueError
    return [raw[i : i + 32] for i in range(0, len(raw), 32)]


def _name_problem(row: Any, where: str) -> None:
    if type(row) is not list or not 3 <= len(row) <= 4:
        raise Malformed("must be [root, timeS, blockNumber] or [root, timeS, blockNumber, transaction]", where)
    canonical_hex(row[0], 32, where)
    for number in row[1:3]:
        if type(number) is not int or not 0 <= number <= MAX_JSON_INTEGER:
            raise Malformed("must be an integer in 0…2^53-1", where)
    if len(row) == 4:
        canonical_hex(row[3], 32, where)
