"""OCMF: ours is accepted by pyocmf, a foreign meter's is taken in byte for byte, and no bytes break the reader."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from pyocmf import OCMF, validate_transaction_pair

from protocol import ocmf
from protocol.errors import BadSignature, Malformed
from protocol.evidence import Flag
from protocol.keys import HALF_ORDER, Signer
from protocol.ocmf import Transaction

from .make_bundle import Evidence

SCENE = Evidence(records=3)
SESSION = bytes(range(32))
BEGIN = ocmf.make(SCENE.meter, SCENE.records[0][0], Transaction.BEGIN, SESSION, "WP-0001", 1)
END = ocmf.make(SCENE.meter, SCENE.records[-1][0], Transaction.END, SESSION, "WP-0001", 2)
ORDER = 2 * HALF_ORDER + 1


def der_key(signer: Signer) -> bytes:
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), signer.public_key)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_pyocmf_accepts_ours_in_strict_mode() -> None:
    begin, end = OCMF.from_string(BEGIN, strict=True), OCMF.from_string(END, strict=True)
    key = der_key(SCENE.meter).hex()
    assert begin.verify_signature(key)
    assert end.verify_signature(key)
    assert begin.check_eichrecht(end) == []
    assert validate_transaction_pair(begin, end)
    used = SCENE.records[-1][0].import_milliwatt_hours - SCENE.records[0][0].import_milliwatt_hours
    first, last = begin.payload.RD[0].RV, end.payload.RD[0].RV
    assert first is not None
    assert last is not None
    assert int((last - first) * 1_000_000) == used


def test_pyocmf_and_ours_refuse_a_changed_text() -> None:
    changed = BEGIN.replace('"TX":"B"', '"TX":"E"')
    assert not OCMF.from_string(changed).verify_signature(der_key(SCENE.meter).hex())
    with pytest.raises(BadSignature):
        ocmf.verify_by_address(ocmf.parse(changed), SCENE.meter.address)


def test_what_we_write_we_read() -> None:
    record = SCENE.records[0][0]
    parsed = ocmf.parse(BEGIN.encode())
    ocmf.verify_by_address(parsed, SCENE.meter.address)
    ocmf.verify_by_public_key(parsed, der_key(SCENE.meter))
    (reading,) = parsed.readings
    assert (reading.time_s, reading.milliwatt_hours) == (record.end_s, record.import_milliwatt_hours)
    assert reading.kind is ocmf.RegisterKind.TOTAL_IMPORT
    assert (parsed.identification, parsed.meter_serial, parsed.fields["UN"]) == ("0x" + SESSION.hex(), "WP-0001", record.sequence)
    with pytest.raises(BadSignature):
        ocmf.verify_by_address(parsed, Signer.create().address)


def test_flags_show() -> None:
    flags = int(Flag.CLOCK_NOT_SYNCHRONISED | Flag.TAMPER | Flag.QUARANTINED_REGISTER)
    text = ocmf.make(SCENE.meter, SCENE.records[0][0]._replace(flags=flags), Transaction.POWER_FAILURE, SESSION, "Zähler 1", 3)
    (reading,) = ocmf.parse(text).readings
    assert (reading.time_status, reading.status, reading.error_flags) == ("U", "M", "E")
    assert OCMF.from_string(text, strict=True).payload.MS == "Zähler 1"
    with pytest.raises(Malformed):
        ocmf.make(SCENE.meter, SCENE.records[0][0], Transaction.BEGIN, SESSION, "a|b", 3)


@pytest.mark.parametrize(("value", "step", "text"), [
    (123_456_789, 1_000, "123.456789"), (123_456_000, 1_000, "123.456"), (5_000_000, 1_000_000, "5"), (5_500_000, 100_000, "5.5"),
    (7, 1, "0.000007"), (0, 10, "0.00000"), (10**15 + 2_000, 2_000, "1000000000.002"),
])  # fmt: skip
def test_energy_is_written_exactly(value: int, step: int, text: str) -> None:
    assert ocmf._kilowatt_hours(value, step) == text


def foreign_text(curve: ec.EllipticCurve, algorithm: str | None, encoding: str = "hex") -> tuple[str, bytes, ec.EllipticCurvePrivateKey]:
    """A text as a charger's meter makes it: transaction registers, inherited fields, spaces its maker likes."""
    key = ec.generate_private_key(curve)
    payload = (
        '{"FV":"1.0","GI":"ABL SBC-301","GS":"808829900001","PG":"T12345","MV":"Phoenix Contact","MS":"BQ27400330016","IS":true, '
        '"IT":"ISO14443","ID":"1F2D3A4F5506C7","RD":[{"TM":"2026-07-24T13:22:04,000+0200 S","TX":"B","RV":0.000,'
        '"RI":"01-00:B2.08.00*FF","RU":"kWh","RT":"AC","EF":"","ST":"G"},{"TM":"2026-07-24T14:22:04,000+0200 S","TX":"E","RV":12.345}]}'
    )
    raw = key.sign(payload.encode(), ec.ECDSA(hashes.SHA256()))
    data = raw.hex() if encoding == "hex" else base64.b64encode(raw).decode()
    head = "" if algorithm is None else f'"SA":"{algorithm}",'
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f'OCMF|{payload}|{{{head}"SE":"{encoding}","SD":"{data}"}}', public, key


@pytest.mark.parametrize(("curve", "algorithm"), [
    (ec.SECP256K1(), ocmf.ALGORITHM), (ec.SECP256R1(), ocmf.P256_ALGORITHM), (ec.SECP256R1(), None),
])  # fmt: skip
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_a_foreign_meters_text_is_verified_as_it_came(curve: ec.EllipticCurve, algorithm: str | None, encoding: str) -> None:
    text, public, _ = foreign_text(curve, algorithm, encoding)
    parsed = ocmf.parse(text)
    assert parsed.text == text
    ocmf.verify_by_public_key(parsed, public)
    assert OCMF.from_string(text).verify_signature(public.hex())
    begin, end = parsed.readings
    assert begin.milliwatt_hours is not None
    assert end.milliwatt_hours is not None
    assert end.milliwatt_hours - begin.milliwatt_hours == 12_345_000
    assert end.kind is ocmf.RegisterKind.TRANSACTION_IMPORT  # inherited
    assert begin.time_s == 1_784_892_124
    _, stranger, _ = foreign_text(curve, algorithm)
    with pytest.raises(BadSignature):
        ocmf.verify_by_public_key(parsed, stranger)
    with pytest.raises(BadSignature):
        ocmf.verify_by_public_key(ocmf.parse(text.replace("12.345", "12.346")), public)


def test_keys_and_algorithms_that_do_not_fit_are_refused() -> None:
    text, public, _ = foreign_text(ec.SECP256R1(), ocmf.P256_ALGORITHM)
    with pytest.raises(BadSignature, match="another kind"):
        ocmf.verify_by_public_key(ocmf.parse(text), der_key(SCENE.meter))
    with pytest.raises(BadSignature, match="SubjectPublicKeyInfo"):
        ocmf.verify_by_public_key(ocmf.parse(text), b"\x30\x00")
    with pytest.raises(BadSignature, match="not supported"):
        ocmf.verify_by_public_key(ocmf.parse(text.replace("secp256r1", "secp192r1")), public)
    with pytest.raises(BadSignature, match="a meter key signs"):
        ocmf.verify_by_address(ocmf.parse(text), SCENE.meter.address)


def test_the_malleable_twin_of_our_signature_is_refused() -> None:
    parsed = ocmf.parse(BEGIN)
    raw = ocmf._halves(parsed.signature)
    twin = raw[:32] + (ORDER - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    with pytest.raises(BadSignature):
        ocmf.verify_by_address(parsed._replace(signature=ocmf.der_signature(twin)), SCENE.meter.address)


@pytest.mark.parametrize(("change", "where"), [
    (lambda t: t + "|key", "OCMF"),
    (lambda t: t[4:], "OCMF"),
    (lambda t: t.replace('"TX":"B"', '"TX":"Q"'), "payload.RD[0].TX"),
    (lambda t: t.replace(",000+0000 S", ""), "payload.RD[0].TM"),
    (lambda t: t.replace("2026-01-01", "2026-13-01"), "payload.RD[0].TM"),
    (lambda t: t.replace("2026-01-01T00:00:00,000+0000", "0001-01-01T00:00:00,000+2359"), "payload.RD[0].TM"),
    (lambda t: t.replace('"RV":', '"RV":1e999999999,"X":'), "payload.RD[0].RV"),
    (lambda t: t.replace('"RV":', '"RV":NaN,"X":'), "payload"),
    (lambda t: t.replace('"RV":', '"RV":true,"X":'), "payload.RD[0].RV"),
    (lambda t: t.replace('"ST":', '"ST":"G","ST":'), "payload"),
    (lambda t: t.replace('"RD":[', '"RD":[1,'), "payload.RD[0]"),
    (lambda t: t.replace('"SE":"hex"', '"SE":"rot13"'), "signature.SE"),
    (lambda t: t.replace('"SD":"', '"SD":"zz'), "signature.SD"),
    (lambda t: "OCMF|" + "[" * 30_000 + "|{}", "payload"),
    (lambda t: "OCMF|{\"MS\":\"\ud800\"}|{}", "OCMF"),
    (lambda t: t + " " * 70_000, "OCMF"),
])  # fmt: skip
def test_a_broken_text_is_refused_and_the_place_named(change: Any, where: str) -> None:
    with pytest.raises(Malformed) as caught:
        ocmf.parse(change(BEGIN))
    assert caught.value.where == where


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300)), st.integers(0, len(BEGIN)))
def test_any_bytes_parse_or_raise_malformed(noise: str | bytes, place: int) -> None:
    raw = noise if isinstance(noise, bytes) else noise.encode("utf-8", "surrogatepass")
    for candidate in (noise, b"OCMF|" + raw + b"|{}", BEGIN.encode()[:place] + raw + BEGIN.encode()[place:]):
        try:
            ocmf.parse(candidate)
        except Malformed:
            continue


@settings(deadline=None)
@given(st.integers(5, len(BEGIN) - 1), st.integers(1, 127))
def test_one_changed_byte_never_verifies_as_another_payload(place: int, flip: int) -> None:
    raw = bytearray(BEGIN.encode())
    raw[place] ^= flip
    try:
        parsed = ocmf.parse(bytes(raw))
        ocmf.verify_by_address(parsed, SCENE.meter.address)
    except (Malformed, BadSignature):
        return
    assert parsed.payload == ocmf.parse(BEGIN).payload  # what was changed stands outside what is signed

