"""The proof bundle: one file a bill, with everything an outsider needs to check it. `docs/bundle.md` describes the format.

`decode_bundle` checks the *form* only: every field present, of its type and size, nothing unknown. Whether the evidence holds is the
auditor's business: a bundle with a false signature decodes, so that the auditor can name what is false. The same `Bundle` always encodes to
the same JSON, and `decode_bundle(encode_bundle(b)) == b`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .bundle_frames import parse_frame, read_frames, write_frame
from .bundle_links import link_heads, read_links, write_links
from .bundle_parts import (
    ANOTHER_POINT,
    AnchorLink,
    Bundle,
    BundledFrame,
    ChainHalt,
    CreditNote,
    Erasure,
    HiddenRecord,
    KeyEvent,
    OcmfText,
    SessionFacts,
    Signed,
    Tail,
)
from .control import SupplyConfirmation
from .eip712 import MAX_JSON_INTEGER, canonical_hex, from_json, to_json
from .errors import Malformed
from .evidence import ChargeKeyVoucher, HandOver, Receipt, Ruling
from .keys import SIGNATURE_SIZE
from .money import MeteredCharge, Payment, Terms
from .packed import pack, unpack
from .wire import keys_problem

__all__ = [
    "ANOTHER_POINT", "AnchorLink", "Bundle", "BundledFrame", "ChainHalt", "CreditNote", "Erasure", "HiddenRecord", "KeyEvent",
    "OcmfText", "SessionFacts", "Signed", "Tail", "bundle_document", "decode_bundle", "encode_bundle", "link_heads", "parse_bundle",
    "parse_frame", "read_frames",
]  # fmt: skip

FORMAT = "wattproof-bundle"
VERSION = 1
MAX_FRAMES = 400_000
"""62 days at a record every 15 s; a meter-year of quarter-hours has 35,136."""
MAX_LINKS = 4_000_000
"""A year of epochs of 10 s."""
MAX_LIST = 1_000
"""Key events, rulings, OCMF texts … of one bill: far more than any honest one has, and no reader's loops over two lists hurt."""
MAX_ERASURES = 400_000
"""One a record where two points of one device take turns."""
MAX_RECEIPTS = 100
"""The latest suffices, and each is held against every frame."""
MAX_TEXT = 65_536
"""An OCMF text with hundreds of readings; a rule's name is far shorter."""
MAX_SIGNERS = 8
"""Signatures over one hand-over or ruling: two today, and room for a bench of arbiters."""

T = TypeVar("T")
Reader = Callable[[Any, str], Any]


# ------------------------------------------------------------------ single values


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()


def _integer(value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_JSON_INTEGER:
        raise Malformed("must be an integer in 0…2^53-1", where)
    return value


def _text(value: Any, where: str) -> str:
    if type(value) is not str or len(value) > MAX_TEXT:
        raise Malformed(f"must be a text of at most {MAX_TEXT} characters", where)
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise Malformed("must be an object", where)
    return value


def _sized(size: int | None) -> Reader:
    return lambda value, where: canonical_hex(value, size, where)


def _or_none(read: Reader) -> Reader:
    return lambda value, where: None if value is None else read(value, where)


def _list(value: Any, limit: int, where: str) -> list[Any]:
    if type(value) is not list or len(value) > limit:
        raise Malformed(f"must be a list of at most {limit} items", where)
    return value


def _struct(cls: type[T], value: Any, where: str) -> T:
    found = from_json(cls, value, where)
    if to_json(found) != value:  # a wallet's mixed-case address is the same address, but evidence has one text for one value
        raise Malformed("must be written in lower-case hexadecimal", where)
    return found


_HASH, _ADDRESS = _sized(32), _sized(20)


# ------------------------------------------------------------------ plain parts, by table


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


_TABLES: dict[type, dict[str, Reader]] = {
    SessionFacts: {
        "session": _HASH, "terms": lambda v, w: _struct(Terms, v, w), "chain_id": _integer, "escrow": _ADDRESS,
        "registry": _ADDRESS, "anchor_log": _ADDRESS, "opened_at_s": _integer, "lock_micro": _integer, "point_salt": _or_none(_HASH),
        "device": _HASH, "channel": _integer, "rated_watts": _integer, "register_modulus_milliwatt_hours": _integer, "operator": _ADDRESS,
        "service_key": _ADDRESS, "first_sequence": _integer, "last_sequence": _integer,
    },
    CreditNote: {"amount_micro": _integer, "at_s": _integer, "transaction": _HASH},
    Tail: {"name": _text, "amount_micro": _integer},
    KeyEvent: {
        "role": _integer, "old_key": _ADDRESS, "new_key": _ADDRESS, "last_frame": _HASH, "time_s": _integer,
        "block_number": _integer, "transaction": _HASH,
    },
    ChainHalt: {"from_block": _integer, "from_s": _integer, "until_s": _integer},
    OcmfText: {"text": _or_none(_text), "text_hash": _HASH, "public_key": _or_none(_sized(None))},
    Erasure: {"first_sequence": _integer, "last_sequence": _integer, "at_s": _integer, "rule": _text},
}  # fmt: skip
for _cls, _table in _TABLES.items():
    assert tuple(_table) == _cls._fields  # type: ignore[attr-defined]  # a table that forgot a field would drop evidence


def _read(cls: type[T], document: Any, where: str) -> T:
    table = _TABLES[cls]
    expected = frozenset(map(_camel, table))
    if type(document) is not dict or document.keys() != expected:
        raise Malformed(keys_problem(document, expected), where)
    return cls(*[read(document[_camel(name)], f"{where}.{_camel(name)}") for name, read in table.items()])


def _write(part: Any) -> dict[str, Any]:
    return {_camel(name): _value(value) for name, value in zip(part._fields, part, strict=True)}


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return _hex(value)
    return to_json(value) if isinstance(value, Terms) else value


def _read_all(cls: type[T], document: Any, where: str, limit: int = MAX_LIST) -> tuple[T, ...]:
    return tuple(_read(cls, item, f"{where}[{i}]") for i, item in enumerate(_list(document, limit, where)))


# ------------------------------------------------------------------ signed structs


def _read_signed(cls: type[T], document: Any, where: str) -> Signed[T]:
    fields = dict(_object(document, where))
    if "signatures" not in fields:
        raise Malformed("is missing", f"{where}.signatures")
    signatures = _list(fields.pop("signatures"), MAX_SIGNERS, f"{where}.signatures")
    value = _struct(cls, fields, where)
    return Signed(value, tuple(canonical_hex(s, SIGNATURE_SIZE, f"{where}.signatures[{i}]") for i, s in enumerate(signatures)))


def _write_signed(signed: Signed[Any]) -> dict[str, Any]:
    return {**to_json(signed.value), "signatures": [_hex(s) for s in signed.signatures]}


def _read_all_signed(cls: type[T], document: Any, where: str) -> tuple[Signed[T], ...]:
    return tuple(_read_signed(cls, item, f"{where}[{i}]") for i, item in enumerate(_list(document, MAX_LIST, where)))


# ------------------------------------------------------------------ the whole


def _read_charge(session: SessionFacts, document: Any) -> Signed[MeteredCharge] | Signed[Payment] | None:
    if document is None:
        return None
    return _read_signed(MeteredCharge, document, "charge") if session.terms.metered else _read_signed(Payment, document, "charge")


_KEYS = frozenset(("format", "version", *map(_camel, Bundle._fields))) - {"end"}


def parse_bundle(document: dict[str, Any], *, with_frames: bool = True) -> Bundle:
    """A bundle from its JSON object. `with_frames=False` leaves `frames` empty, for readers that parse them on several cores."""
    if document.get("format") != FORMAT:
        raise Malformed(f'is not a proof bundle: "format" must be "{FORMAT}"', "format")
    if document.get("version") != VERSION:
        raise Malformed(f"this program reads version {VERSION}, not {document.get('version')!r}; take a newer one", "version")
    if document.keys() - {"end"} != _KEYS:
        raise Malformed(keys_problem(document, _KEYS), "bundle")
    session = _read(SessionFacts, document["session"], "session")
    frames = _list(document["frames"], MAX_FRAMES, "frames")
    return Bundle(
        session=session,
        tariff=_object(document["tariff"], "tariff"),
        agreement=_or_none(_object)(document["agreement"], "agreement"),
        policy=_or_none(_object)(document["policy"], "policy"),
        bill=_object(document["bill"], "bill"),
        charge=_read_charge(session, document["charge"]),
        voucher=None if document["voucher"] is None else _read_signed(ChargeKeyVoucher, document["voucher"], "voucher"),
        claimed_micro=_integer(document["claimedMicro"], "claimedMicro"),
        credit_notes=_read_all(CreditNote, document["creditNotes"], "creditNotes"),
        tail=_read(Tail, document["tail"], "tail"),
        key_events=_read_all(KeyEvent, document["keyEvents"], "keyEvents"),
        links=read_links(document["links"], "links", MAX_LIST, MAX_LINKS),
        chain_halts=_read_all(ChainHalt, document["chainHalts"], "chainHalts"),
        frames=tuple(parse_frame(item, f"frames[{i}]") for i, item in enumerate(frames)) if with_frames else (),
        conflicts=tuple(parse_frame(item, f"conflicts[{i}]") for i, item in enumerate(_list(document["conflicts"], MAX_LIST, "conflicts"))),
        receipts=_read_all_signed(Receipt, _list(document["receipts"], MAX_RECEIPTS, "receipts"), "receipts"),
        ocmf=_read_all(OcmfText, document["ocmf"], "ocmf"),
        hand_overs=_read_all_signed(HandOver, document["handOvers"], "handOvers"),
        rulings=_read_all_signed(Ruling, document["rulings"], "rulings"),
        erasures=_read_all(Erasure, document["erasures"], "erasures", MAX_ERASURES),
        end=_read_signed(SupplyConfirmation, document["end"], "end") if "end" in document else None,
    )


def decode_bundle(packed: bytes) -> Bundle:
    """A bundle from the bytes of its file (gzip, or the bare JSON). Raises `Malformed` and nothing else, whatever the bytes."""
    return parse_bundle(unpack(packed))


def bundle_document(bundle: Bundle) -> dict[str, Any]:
    """A bundle as a JSON object."""
    signed = {"charge": bundle.charge, "voucher": bundle.voucher}
    document: dict[str, Any] = {
        "format": FORMAT, "version": VERSION, "session": _write(bundle.session), "tariff": bundle.tariff,
        "agreement": bundle.agreement, "policy": bundle.policy, "bill": bundle.bill,
        **{name: None if part is None else _write_signed(part) for name, part in signed.items()},
        "claimedMicro": bundle.claimed_micro, "tail": _write(bundle.tail), "links": write_links(bundle.links),
        "frames": [write_frame(frame) for frame in bundle.frames],
        "conflicts": [write_frame(frame) for frame in bundle.conflicts],
    }  # fmt: skip
    for name in ("credit_notes", "key_events", "chain_halts", "ocmf", "erasures"):
        document[_camel(name)] = [_write(part) for part in getattr(bundle, name)]
    for name in ("receipts", "hand_overs", "rulings"):
        document[_camel(name)] = [_write_signed(part) for part in getattr(bundle, name)]
    if bundle.end is not None:
        document["end"] = _write_signed(bundle.end)
    return document


def encode_bundle(bundle: Bundle) -> bytes:
    """The bytes of a bundle's file."""
    return pack(bundle_document(bundle))
