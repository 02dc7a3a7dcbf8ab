"""What is attached to the readings: OCMF texts, meter hand-overs, rulings, and what was erased by which rule."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

from protocol import ocmf
from protocol.bundle import ANOTHER_POINT, Bundle, Erasure, HiddenRecord, OcmfText
from protocol.control import Cause, SupplyState
from protocol.eip712 import EVIDENCE, control_domain, digest, hex_bytes
from protocol.errors import BadSignature, Malformed
from protocol.evidence import Record
from protocol.hashing import keccak
from protocol.keys import check_signature, recover_address
from protocol.ocmf import OcmfRecord, Transaction

from .device_keys import meter_key_at, meter_spans
from .log import Log
from .report import Check, Problem, judge

# ------------------------------------------------------------------ OCMF


def ocmf_problems(bundle: Bundle, records: Sequence[Record]) -> tuple[list[Problem], str]:
    """Texts that are not signed or do not agree with the records; and which of ours is missing."""
    by_sequence = {record.sequence: record for record in records}
    key = meter_key_at(bundle.key_events, bundle.session.opened_at_s)
    problems: list[Problem] = []
    ours: set[Transaction | None] = set()
    for i, item in enumerate(bundle.ocmf):
        name = f"ocmf[{i}]"
        if item.text is None:
            continue
        try:
            if keccak(item.text.encode("utf-8", "surrogatepass")) != item.text_hash:
                raise Malformed("does not hash to its textHash: it was changed", name)
            text = ocmf.parse(item.text)
            _check_signature(item, text, key)
            if item.public_key is None:
                ours.add(text.readings[0].transaction)
                problems += _against_record(bundle, text, by_sequence, name)
        except Malformed as error:
            problems.append(Problem("ocmf", f"{name} {error.where}" if error.where != name else name, error.what))
        except BadSignature as error:
            problems.append(Problem("ocmf", name, str(error)))
    if not bundle.ocmf:
        return problems, "the file has none"
    begun, ended = Transaction.BEGIN in ours, any(reason is not None and reason.ends for reason in ours)
    erased = any(item.text is None for item in bundle.ocmf)
    missing = " and ".join(side for side, there in (("start", begun), ("end", ended)) if not there and not erased)
    return problems, f"the meter key's own text at the {missing} is not in the file" if missing else ""


def _check_signature(item: OcmfText, text: OcmfRecord, key: bytes | None) -> None:
    if item.public_key is not None:
        ocmf.verify_by_public_key(text, item.public_key)
    elif key is None:
        raise BadSignature("no meter key stood when the session opened")
    else:
        ocmf.verify_by_address(text, key)


def _against_record(bundle: Bundle, text: OcmfRecord, records: dict[int, Record], name: str) -> list[Problem]:
    """A text of ours names its record and repeats that record's time and register."""
    session, reading = bundle.session, text.readings[0]
    if text.identification != "0x" + session.session.hex():
        return [Problem("ocmf", name, "is of another session")]
    if (text.fields.get("UD"), text.fields.get("UC")) != ("0x" + session.device.hex(), session.channel):
        return [Problem("ocmf", name, "is of another device or channel")]
    sequence = text.fields.get("UN")
    expected = {Transaction.BEGIN: session.first_sequence}.get(reading.transaction or Transaction.EXCEPTION)
    if reading.transaction is not None and reading.transaction.ends:
        expected = session.last_sequence
    if expected is not None and sequence != expected:
        return [Problem("ocmf", name, f"is of record {sequence}, the bill has record {expected} there")]
    record = records.get(sequence) if type(sequence) is int else None
    if record is None:
        return []  # hidden; `erasures` has it
    if (reading.time_s, reading.milliwatt_hours) != (record.end_s, record.import_milliwatt_hours):
        what = (
            f"reads {reading.milliwatt_hours} mWh at {reading.time_s} s, the record {record.import_milliwatt_hours} mWh at {record.end_s} s"
        )
        return [Problem("ocmf", name, what)]
    return []


# ------------------------------------------------------------------ hand-overs and rulings


def _signed_by(value: object, signatures: Sequence[bytes], signers: Sequence[bytes | None]) -> None:
    if len(signatures) != len(signers):
        raise BadSignature(f"has {len(signatures)} signature(s), it needs {len(signers)}")
    for signature, signer in zip(signatures, signers, strict=True):
        if signer is None:
            raise BadSignature("no meter key stood when the session opened")
        check_signature(digest(EVIDENCE, value), signature, signer)


def hand_over_problems(bundle: Bundle) -> list[Problem]:
    """Hand-overs that meter key and operator did not both sign, or of another point."""
    session = bundle.session
    key = meter_key_at(bundle.key_events, session.opened_at_s)
    problems = []
    for i, signed in enumerate(bundle.hand_overs):
        if (signed.value.device, signed.value.channel) != (session.device, session.channel):
            problems.append(Problem("hand-overs", f"handOvers[{i}]", "is of another device or channel"))
        try:
            _signed_by(signed.value, signed.signatures, (key, session.operator))
        except BadSignature as error:
            problems.append(Problem("hand-overs", f"handOvers[{i}]", str(error)))
    return problems


def ruling_problems(bundle: Bundle) -> list[Problem]:
    """Rulings that operator and payer did not both sign, nor the arbiter whom the agreement names."""
    session, problems = bundle.session, []
    arbiter = None
    try:
        if bundle.agreement is not None and "arbiter" in bundle.agreement:
            arbiter = hex_bytes(bundle.agreement["arbiter"], 20, "agreement.arbiter")
    except Malformed as error:
        problems.append(Problem("rulings", error.where, error.what))
    for i, signed in enumerate(bundle.rulings):
        signers = (arbiter,) if len(signed.signatures) == 1 and arbiter else (session.operator, session.terms.payer)
        try:
            if (signed.value.session, signed.value.device) != (session.session, session.device):
                raise BadSignature("is of another session or device")
            _signed_by(signed.value, signed.signatures, signers)
        except BadSignature as error:
            problems.append(Problem("rulings", f"rulings[{i}]", str(error)))
    return problems


# ------------------------------------------------------------------ the end


def end_problems(bundle: Bundle) -> list[Problem]:
    """A word about the end of supply that is not the meter key's, or not about this session. Said later, it may be a later key's."""
    if bundle.end is None:
        return []
    session, said, signatures = bundle.session, bundle.end.value, bundle.end.signatures
    if (said.device, said.channel, said.session) != (session.device, session.channel, session.session):
        return [Problem("end", "end", "is of another device, channel or session")]
    if said.state != SupplyState.DISCONNECTED:
        return [Problem("end", "end", "does not say that supply was measured disconnected")]
    keys = {span.key for span in meter_spans(bundle.key_events) if span.until_s is None or span.until_s > session.opened_at_s}
    try:
        if len(signatures) != 1:
            raise BadSignature("it needs one signature")
        if recover_address(digest(control_domain(session.chain_id, session.registry), said), signatures[0]) not in keys:
            raise BadSignature("not signed by a meter key of the device")
    except BadSignature as error:
        return [Problem("end", "end", str(error))]
    return []


def end_text(bundle: Bundle) -> str:
    """Why supply ended, in words."""
    if bundle.end is None:
        return "the file does not say why supply ended"
    cause = bundle.end.value.cause
    return f"disconnected: {Cause(cause).name.lower().replace('_', ' ')}" if cause in tuple(Cause) else f"disconnected: cause {cause}"


# ------------------------------------------------------------------ erasures


class _Ranges:
    """Erasures by the sequence they cover. Overlapping ones are a problem of their own, so one look suffices."""

    def __init__(self, erasures: Sequence[Erasure]) -> None:
        self._sorted = sorted(erasures)
        self._firsts = [erasure.first_sequence for erasure in self._sorted]

    def over(self, sequence: int) -> Erasure | None:
        """The erasure whose range a record lies in."""
        i = bisect_right(self._firsts, sequence) - 1
        return self._sorted[i] if i >= 0 and sequence <= self._sorted[i].last_sequence else None

    def overlap(self) -> Erasure | None:
        """An erasure that begins inside the one before it, and is not the same again."""
        pairs = pairwise(self._sorted)
        return next((now for before, now in pairs if now.first_sequence <= before.last_sequence and now[:2] != before[:2]), None)


def erased_text(erasure: Erasure) -> str:
    """An erasure as a verdict says it."""
    try:
        when = datetime.fromtimestamp(erasure.at_s, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        when = f"{erasure.at_s} s"
    return f"erased ({when}, by {erasure.rule})"


def erasure_problems(bundle: Bundle, log: Log) -> tuple[list[Problem], str, int]:
    """Records hidden without a rule, or still there against one; why billed records cannot be seen, if so; how many are hidden."""
    session, problems = bundle.session, []
    reason, hidden = "", 0
    for i, erasure in enumerate(bundle.erasures):
        if not erasure.rule.strip() or erasure.last_sequence < erasure.first_sequence:
            problems.append(Problem("erasures", f"erasures[{i}]", "needs a range and a rule"))
    ranges = _Ranges(bundle.erasures)
    overlap = ranges.overlap()
    if overlap is not None:
        problems.append(Problem("erasures", f"records {overlap.first_sequence}…{overlap.last_sequence}", "are erased by two rules"))
    for frame in log.frames:
        for record in frame.records:
            rule = ranges.over(record.sequence)
            if isinstance(record, HiddenRecord):
                hidden += 1
                if rule is None:
                    problems.append(Problem("erasures", f"record {record.sequence}", "is hidden, and no rule says why"))
                billed = session.first_sequence <= record.sequence <= session.last_sequence
                if billed and (rule is None or rule.rule != ANOTHER_POINT):
                    reason = reason or (erased_text(rule) if rule else "hidden without a rule")
            elif rule is not None and record.channel == session.channel:
                problems.append(Problem("erasures", f"record {record.sequence}", "is still there, though the file says it was erased"))
    return problems, reason, hidden


def _signers(bundle: Bundle) -> str:
    """How many texts were checked, and against whose key."""
    foreign = sum(item.public_key is not None for item in bundle.ocmf)
    beside = f", {foreign} by the key of a foreign meter that the file names: whose meter it is, its type approval says" if foreign else ""
    return f"{len(bundle.ocmf) - foreign} text(s) by the meter key{beside}"


def attached_checks(bundle: Bundle, problems: Sequence[Problem], no_ocmf: str, hidden: int) -> list[Check]:
    """The verdicts of this family."""
    gone = next((erased_text(e) for e in bundle.erasures), "erased, and no rule is named")
    texts_gone = sum(item.text is None for item in bundle.ocmf)
    erased = f"{hidden} record(s): {gone}" if hidden else ""
    return [
        judge(
            "ocmf", problems, _signers(bundle), unchecked=no_ocmf, erased=f"{texts_gone} text(s): {gone}" if texts_gone else ""
        ),
        judge("hand-overs", problems, f"{len(bundle.hand_overs)}, signed by both sides" if bundle.hand_overs else "none"),
        judge("rulings", problems, f"{len(bundle.rulings)}, signed" if bundle.rulings else "none"),
        judge("erasures", problems, "nothing is hidden", erased=erased),
        judge("end", problems, end_text(bundle)),
    ]
