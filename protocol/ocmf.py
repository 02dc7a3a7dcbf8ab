"""OCMF texts (Open Charge Metering Format 1.x of S.A.F.E. e.V.): `OCMF|{payload}|{signature}`, what transparency software checks.

Ours are signed by the meter key, one at the start (`B`) and one at the end of a session. A foreign meter's are taken in byte for byte:
parsed and verified, never rewritten. `parse` raises `Malformed` whatever the bytes, `verify_*` raise `BadSignature`.

Readings and OBIS: our texts carry `1-0:1.8.0*255`, the absolute import register at the meter, in kWh with as many decimals as the
register's step has, so a text's energy is end − begin and equals the records'. In a foreign meter's texts the total registers
(`1.8.0`, OCMF's B0 and B1) are read the same way; transaction registers (`01-00:B2.08.00*FF`, B3) begin at the value of their B
reading, mostly 0, so that end − begin holds for them too.

Source: https://github.com/SAFE-eV/OCMF-Open-Charge-Metering-Format (OCMF-en.md, tables 1-8 and 25)
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from .errors import BadSignature, Malformed
from .evidence import Flag, Record
from .keys import Signer, der_signature, recover_address

MAX_TEXT_BYTES = 65_536
"""Hundreds of readings; real texts have one to twenty and less than 4 KiB."""
MAX_READINGS = 500
MAX_EXPONENT = 12
"""Decimal exponent of a reading at most: `1e999999999` is a few bytes of JSON and a gigabyte as an integer."""

OUR_REGISTER = "1-0:1.8.0*255"
ALGORITHM = "ECDSA-secp256k1-SHA256"
P256_ALGORITHM = "ECDSA-secp256r1-SHA256"  # what a signature without SA means
_MILLIWATT_HOURS = {"kWh": 1_000_000, "Wh": 1_000}


class Transaction(StrEnum):
    """Why a reading was taken (OCMF table 7, TX); the five from END on end a transaction."""

    BEGIN = "B"
    CHARGING = "C"
    EXCEPTION = "X"
    SUSPENDED = "S"
    TARIFF_CHANGE = "T"
    END = "E"
    LOCAL = "L"
    REMOTE = "R"
    ABORT = "A"
    POWER_FAILURE = "P"

    @property
    def ends(self) -> bool:
        return self in (Transaction.END, Transaction.LOCAL, Transaction.REMOTE, Transaction.ABORT, Transaction.POWER_FAILURE)


class RegisterKind(StrEnum):
    """What a register counts: all energy ever, or the energy of one transaction."""

    TOTAL_IMPORT = "total import"
    TRANSACTION_IMPORT = "transaction import"
    TOTAL_EXPORT = "total export"
    TRANSACTION_EXPORT = "transaction export"


_KINDS = {
    "1": RegisterKind.TOTAL_IMPORT, "B0": RegisterKind.TOTAL_IMPORT, "B1": RegisterKind.TOTAL_IMPORT,
    "B2": RegisterKind.TRANSACTION_IMPORT, "B3": RegisterKind.TRANSACTION_IMPORT,
    "2": RegisterKind.TOTAL_EXPORT, "C0": RegisterKind.TOTAL_EXPORT, "C1": RegisterKind.TOTAL_EXPORT,
    "C2": RegisterKind.TRANSACTION_EXPORT, "C3": RegisterKind.TRANSACTION_EXPORT,
}  # fmt: skip
_OBIS = re.compile(r"0?1-[0-9a-fA-F]{1,2}:([0-9a-fA-F]{1,2})\.0?8\.0?0(?:[*.][0-9a-fA-F]{1,3})?")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[,.]\d{1,3})?([+-])(\d\d):?(\d\d) ([UISR])")


class Reading(NamedTuple):
    """One reading. `milliwatt_hours` is None where the register is not energy; fractions of a milliwatt-hour are cut off."""

    time_s: int
    time_status: str  # S synchronised, I informative, R relative, U unknown
    transaction: Transaction | None
    register: str
    kind: RegisterKind | None
    milliwatt_hours: int | None
    status: str  # G good
    error_flags: str


class OcmfRecord(NamedTuple):
    """A parsed text. `payload` is exactly what was signed."""

    text: str
    payload: str
    algorithm: str
    signature: bytes  # DER
    meter_serial: str
    identification: str
    pagination: str
    readings: tuple[Reading, ...]
    fields: dict[str, Any]  # the whole payload, with what is not read here


def register_kind(obis: str) -> RegisterKind | None:
    """What an OBIS code of active energy counts, as OCMF table 25 and IEC 62056-61 name it; None for any other."""
    found = _OBIS.fullmatch(obis)
    return _KINDS.get(found.group(1).upper().lstrip("0")) if found else None


# ------------------------------------------------------------------ our own texts


def _kilowatt_hours(milliwatt_hours: int, step_milliwatt_hours: int) -> str:
    """A JSON number in kWh, exact, with the decimals of the register's step."""
    decimals = 6
    while decimals and step_milliwatt_hours and step_milliwatt_hours % 10 ** (7 - decimals) == 0:
        decimals -= 1
    if milliwatt_hours % 10 ** (6 - decimals):
        decimals = 6  # a register that does not stand on a step is still written exactly
    whole, part = divmod(milliwatt_hours // 10 ** (6 - decimals), 10**decimals)
    return f"{whole}.{part:0{decimals}d}" if decimals else str(whole)


def _status(flags: int) -> str:
    if flags & (Flag.TAMPER | Flag.DOOR_OPEN | Flag.SEAL_BROKEN):
        return "M"
    return "S" if flags & Flag.ESTIMATED else "G"


def make(signer: Signer, record: Record, transaction: Transaction, session: bytes, meter_serial: str, number: int) -> str:
    """The OCMF text of one record at the start or end of a session, signed by the meter key.

    `number` is the text's place in the meter's own count of texts (pagination), rising by one. `UD`, `UC`, `UN` (fields OCMF leaves
    to the maker) name device, channel and sequence of the record, so that an auditor finds it.
    """
    moment = datetime.fromtimestamp(record.end_s, UTC).strftime("%Y-%m-%dT%H:%M:%S,000+0000")
    clock = "U" if record.flags & Flag.CLOCK_NOT_SYNCHRONISED else "S"
    value = _kilowatt_hours(record.import_milliwatt_hours, record.step_milliwatt_hours)
    errors = "E" if record.flags & Flag.QUARANTINED_REGISTER else ""
    payload = (
        f'{{"FV":"1.0","GI":"Wattproof","PG":"T{number}","MS":{json.dumps(meter_serial)},"IS":true,"IF":[],"IT":"CENTRAL",'
        f'"ID":"0x{session.hex()}","UD":"0x{record.device.hex()}","UC":{record.channel},"UN":{record.sequence},'
        f'"RD":[{{"TM":"{moment} {clock}","TX":"{transaction.value}","RV":{value},"RI":"{OUR_REGISTER}","RU":"kWh","RT":"AC",'
        f'"EF":"{errors}","ST":"{_status(record.flags)}"}}]}}'
    )
    if "|" in payload:
        raise Malformed("a serial with | in it would break the text in two", "meter_serial")
    signature = der_signature(signer.sign(hashlib.sha256(payload.encode()).digest())[:64])
    return f'OCMF|{payload}|{{"SA":"{ALGORITHM}","SE":"hex","SM":"application/x-der","SD":"{signature.hex()}"}}'


# ------------------------------------------------------------------ reading any text


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _json_object(text: str, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text, parse_float=Decimal, parse_constant=_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise Malformed(f"is not JSON ({error})", where) from None
    if type(document) is not dict:
        raise Malformed("must be a JSON object", where)
    return document


def _string(document: dict[str, Any], name: str, where: str, default: str = "") -> str:
    value = document.get(name, default)
    if value is None:
        return default
    if type(value) is not str:
        raise Malformed("must be a text", f"{where}.{name}")
    return value


def _time(text: str, where: str) -> tuple[int, str]:
    found = _TIME.fullmatch(text)
    if not found:
        raise Malformed('must be like "2026-01-31T12:00:00,000+0100 S"', where)
    moment, sign, hours, minutes, status = found.groups()
    try:
        offset = timedelta(hours=int(hours), minutes=int(minutes)) * (1 if sign == "+" else -1)
        return int((datetime.fromisoformat(moment + "+00:00") - offset).timestamp()), status
    except (ValueError, OverflowError):
        raise Malformed("is not a moment of the calendar", where) from None


def _energy(document: dict[str, Any], where: str) -> int | None:
    value, factor = document.get("RV"), _MILLIWATT_HOURS.get(_string(document, "RU", where))
    if value is None or factor is None:
        return None
    if type(value) is int:
        value = Decimal(value)
    if type(value) is not Decimal or abs(value.adjusted()) > MAX_EXPONENT:
        raise Malformed("must be a number", f"{where}.RV")
    return int(value * factor)


def _reading(document: dict[str, Any], where: str) -> Reading:
    time_s, time_status = _time(_string(document, "TM", where), f"{where}.TM")
    reason, register = _string(document, "TX", where), _string(document, "RI", where)
    try:
        transaction = Transaction(reason.strip()) if reason else None
    except ValueError:
        raise Malformed(f"{reason!r} is none of {', '.join(Transaction)}", f"{where}.TX") from None
    status, errors = _string(document, "ST", where), _string(document, "EF", where)
    return Reading(time_s, time_status, transaction, register, register_kind(register), _energy(document, where), status, errors)


_INHERITED = ("TM", "TX", "RI", "RU", "RT", "EF", "ST")


def _readings(payload: dict[str, Any]) -> tuple[Reading, ...]:
    items = payload.get("RD")
    if type(items) is not list or not 1 <= len(items) <= MAX_READINGS:
        raise Malformed(f"must be a list of 1…{MAX_READINGS} readings", "payload.RD")
    readings: list[Reading] = []
    before: dict[str, Any] = {}
    for i, item in enumerate(items):
        if type(item) is not dict:
            raise Malformed("must be an object", f"payload.RD[{i}]")
        item = before | item  # OCMF: a field left out is that of the reading before
        before = {name: item[name] for name in _INHERITED if name in item}
        readings.append(_reading(item, f"payload.RD[{i}]"))
    return tuple(readings)


def _signature(document: dict[str, Any]) -> tuple[str, bytes]:
    algorithm = _string(document, "SA", "signature", P256_ALGORITHM)
    encoding, data = _string(document, "SE", "signature", "hex"), _string(document, "SD", "signature")
    if _string(document, "SM", "signature", "application/x-der") != "application/x-der":
        raise Malformed("only application/x-der is defined", "signature.SM")
    try:
        if encoding == "hex":
            return algorithm, bytes.fromhex(data)
        if encoding == "base64":
            return algorithm, b64decode(data, validate=True)
    except ValueError:
        raise Malformed(f"is not {encoding}", "signature.SD") from None
    raise Malformed(f"{encoding!r} is neither hex nor base64", "signature.SE")


def parse(source: str | bytes) -> OcmfRecord:
    """A text, ours or a foreign meter's. The signature is not checked here. Raises `Malformed` and nothing else."""
    if len(source) > MAX_TEXT_BYTES:
        raise Malformed(f"has more than {MAX_TEXT_BYTES} bytes", "OCMF")
    try:
        text = source if isinstance(source, str) else source.decode()
        text.encode()  # a str from JSON may hold half a surrogate pair
    except UnicodeError:
        raise Malformed("is not UTF-8", "OCMF") from None
    parts = text.split("|")
    if len(parts) != 3 or parts[0] != "OCMF":
        raise Malformed("must be OCMF|{payload}|{signature}", "OCMF")
    payload = _json_object(parts[1], "payload")
    algorithm, signature = _signature(_json_object(parts[2], "signature"))
    serial = _string(payload, "MS", "payload") or _string(payload, "GS", "payload")
    return OcmfRecord(
        text, parts[1], algorithm, signature, serial, _string(payload, "ID", "payload"), _string(payload, "PG", "payload"),
        _readings(payload), payload,
    )  # fmt: skip


# ------------------------------------------------------------------ signatures


def _halves(der: bytes) -> bytes:
    """r‖s, 64 bytes, of a DER signature; only the one form `der_signature` writes."""
    try:
        r_size = der[3]
        s_size = der[5 + r_size]
        r, s = der[4 : 4 + r_size], der[6 + r_size : 6 + r_size + s_size]
        raw = int.from_bytes(r, "big").to_bytes(32, "big") + int.from_bytes(s, "big").to_bytes(32, "big")
    except (IndexError, OverflowError):
        raise BadSignature("is not a DER signature of secp256k1") from None
    if der_signature(raw) != der:
        raise BadSignature("is not a DER signature of secp256k1 in its one canonical form")
    return raw


def verify_by_address(record: OcmfRecord, meter_key: bytes) -> None:
    """Raise `BadSignature` unless the 20-byte address `meter_key` signed this text (low s, as everything of ours)."""
    if record.algorithm != ALGORITHM:
        raise BadSignature(f"a meter key signs {ALGORITHM}, this text says {record.algorithm!r}")
    raw, digest = _halves(record.signature), hashlib.sha256(record.payload.encode()).digest()
    for v in (27, 28):  # OCMF carries no recovery bit, so one of two keys signed
        try:
            if recover_address(digest, raw + bytes((v,))) == meter_key:
                return
        except BadSignature:
            continue
    raise BadSignature(f"not signed by 0x{meter_key.hex()}")


def verify_by_public_key(record: OcmfRecord, public_key: bytes) -> None:
    """Raise `BadSignature` unless the key (DER SubjectPublicKeyInfo, secp256k1 or P-256) signed this text.

    Foreign meters are taken as they are: high s and any DER their own library made.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # 30 ms to import, and only foreign meters need it
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    curve = {ALGORITHM: "secp256k1", P256_ALGORITHM: "secp256r1"}.get(record.algorithm)
    if curve is None:
        raise BadSignature(f"{record.algorithm!r} is not supported: {ALGORITHM} and {P256_ALGORITHM} are")
    try:
        key = serialization.load_der_public_key(public_key)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadSignature(f"the public key is not a DER SubjectPublicKeyInfo ({error})") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != curve:
        raise BadSignature(f"the text is signed on {curve}, the public key is of another kind")
    try:
        key.verify(record.signature, record.payload.encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise BadSignature("not signed by the public key given") from None


def check_public_key(public_key: bytes) -> None:
    """Raise `Malformed` unless this is a key that `verify_by_public_key` takes."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_der_public_key(public_key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Malformed("is not a DER SubjectPublicKeyInfo", "publicKey") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in ("secp256k1", "secp256r1"):
        raise Malformed("is of neither secp256k1 nor P-256", "publicKey")
