"""What `show` and `log` print: read from the state folder without a passphrase, also while the agent runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from onsite.log import MAGIC, read_segment, segments
from protocol.evidence import Flag, Reason
from protocol.wire import decode_frame

from .enrolment import read_identity
from .journal import Entry, Tip
from .state import State
from .uplink import acknowledged_in


def entries(directory: Path, newest_segments: int | None = None) -> Iterator[Entry]:
    """Entries of the log, oldest first; a tail being written right now is left out."""
    numbers = segments(directory)
    for number in numbers[-newest_segments:] if newest_segments else numbers:
        for _, payload in read_segment(directory, number, len(MAGIC), None, torn_ends=number == numbers[-1]):
            yield Entry.decode(payload)


def overview(state_folder: Path) -> dict[str, Any]:
    """The state folder in one document."""
    identity = read_identity(state_folder)
    state: State | None = None
    tip, drafts, last = Tip(), 0, None
    for entry in entries(state_folder / "log", newest_segments=2):
        state, tip = entry.state or state, entry.tip or tip
        if entry.frame is not None:
            signed = decode_frame(entry.frame)
            drafts, last = 0, signed.records[-1]
        drafts += len(entry.drafts)
    live = state.live if state else None
    acknowledged = acknowledged_in(state_folder / "receipts")
    receipt = acknowledged["receipt"] if acknowledged else None
    return {
        "device": identity["device"], "channel": identity["channel"], "meterKey": identity["meterKey"],
        "nextSequence": tip.next_sequence, "lastFrame": "0x" + tip.previous_frame.hex(), "recordsNotFramed": drafts,
        "lastRecord": None if last is None else {
            "sequence": last.sequence, "endS": last.end_s, "importMilliwattHours": last.import_milliwatt_hours,
            "powerMilliwatts": last.power_milliwatts, "reason": Reason(last.reason).name, "flags": flag_names(last.flags),
        },
        "receiptedThrough": receipt["throughSequence"] if receipt else None,
        "session": None if live is None else {
            "session": "0x" + live.session.hex(), "phase": live.phase.value, "lockMicro": live.granted["grant"]["lockMicro"],
            "firstSequence": live.first_sequence, "cause": live.cause.name,
        },
        "endedSessions": [{"session": "0x" + e.session.hex(), "cause": e.cause.name} for e in state.ended] if state else [],
        "highestNumber": state.highest_number if state else 0,
        "confirmationsNotTaken": len(state.unsent) if state else 0,
    }  # fmt: skip


def flag_names(flags: int) -> list[str]:
    """The names of a record's flags."""
    return [flag.name or "" for flag in Flag if flags & flag]


def render(document: dict[str, Any], *, as_json: bool) -> str:
    """For people, or for machines."""
    if as_json:
        return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
    lines = []
    for name, value in document.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        lines.append(f"{name:>22}  {text}")
    return "\n".join(lines)


def log_lines(state_folder: Path, last: int, *, as_json: bool) -> Iterator[str]:
    """The newest entries, one line each."""
    read_identity(state_folder)
    for entry in deque(entries(state_folder / "log"), maxlen=last):
        if as_json:
            yield _json_line(entry)
        else:
            yield _text_line(entry)


def _json_line(entry: Entry) -> str:
    document: dict[str, Any] = {"frame": orjson.Fragment(entry.frame)} if entry.frame else {}
    if entry.drafts:
        document["drafts"] = [orjson.Fragment(draft) for draft in entry.drafts]
    parts = {"charge": entry.charge, "ocmf": list(entry.ocmf), "handOver": entry.hand_over}
    document |= {name: value for name, value in parts.items() if value}
    if entry.state is not None:
        document["state"] = orjson.Fragment(entry.state.encode())
    return orjson.dumps(document).decode()


def _text_line(entry: Entry) -> str:
    parts = []
    for raw in (*((entry.frame,) if entry.frame else ()), *entry.drafts):
        signed = decode_frame(raw)
        first, final = signed.records[0], signed.records[-1]
        when = datetime.fromtimestamp(final.end_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
        kind = "frame" if raw is entry.frame else "draft"
        span = f"{first.sequence}" if len(signed.records) == 1 else f"{first.sequence}–{final.sequence}"
        flags = " ".join(flag_names(final.flags))
        measured = f"{final.import_milliwatt_hours} mWh  {final.power_milliwatts} mW"
        parts.append(f"{when}  {kind} {span}  {Reason(final.reason).name}  {measured}  {flags}".rstrip())
    if entry.charge:
        parts.append(f"charge {entry.charge['amountMicro']} micro for {entry.charge['energyMilliwattHours']} mWh")
    if entry.state is not None:
        live = entry.state.live
        parts.append(f"state: {live.phase.value if live else 'idle'}")
    return "; ".join(parts)
