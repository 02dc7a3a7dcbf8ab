"""What `show` and `explain` say: from the journal alone, while the buyer runs or not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from onsite.errors import ConfigError

from .journal import State, history

HIDDEN = frozenset(("checkpoint",))


def _folder(state: Path) -> Path:
    folder = state / "journal"
    if not folder.is_dir():
        raise ConfigError(f"{state} holds no journal: has a buyer run there? (python -m buyer_agent run --state {state})")
    return folder


def overview(state: Path) -> dict[str, Any]:
    """How the buyer stands."""
    last, payments = State(), 0
    for entry, after in history(_folder(state)):
        last = after
        payments += len(entry.get("payments", ()))
    live = last.live
    session = None if live is None else {
        "session": "0x" + live.session.hex(), "offer": None if live.offer is None else "0x" + live.offer.hex(),
        "lockMicro": live.lock_micro, "paidMicro": live.paid.amount_micro, "throughRecord": live.paid.sequence,
        "openedAtS": live.opened_at_s, "stopping": live.why, "refused": live.refused, "terms": live.quote["terms"],
    }  # fmt: skip
    return {
        "session": session, "dayNumber": last.day, "lockedThatDayMicro": last.day_micro, "paymentsKept": payments,
        "disputed": last.disputed, "choice": last.choice,
    }  # fmt: skip


def render(found: dict[str, Any], *, as_json: bool) -> str:
    """For people, or as JSON."""
    if as_json:
        return orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()
    session, choice = found["session"], found["choice"]
    lines = ["no session"]
    if session is not None:
        paid, lock = session["paidMicro"] / 1e6, session["lockMicro"] / 1e6
        lines = [f"session {session['session']}", f"  paid {paid:.6f} of {lock:.6f} locked, through record {session['throughRecord']}"]
        lines += [f"  {name}: {session[name]}" for name in ("refused", "stopping") if session[name]]
    lines.append(f"locked on day {found['dayNumber']}: {found['lockedThatDayMicro'] / 1e6:.6f}")
    if choice is not None:
        lines.append(f"last choice: {choice['why']}")
        lines += [
            f"  {offer['name']}: {offer['totalMicro'] / 1e6:.6f}, {offer['microPerKwh'] / 1e6:.6f} a kWh in all, "
            f"{offer['renewablePpm'] / 10_000:.4g} % renewable{' - ' + offer['against'] if offer['against'] else ''}"
            for offer in choice["offers"]
        ]
    if found["disputed"]:
        lines.append(f"disputed: {found['disputed']}\n  nothing is bought until you have looked into it: run --again")
    return "\n".join(lines)


def events(state: Path, last: int, *, as_json: bool) -> Iterator[str]:
    """The newest events, oldest first; payments between two events are one line."""
    kept: deque[dict[str, Any]] = deque(maxlen=last)
    for entry, _ in history(_folder(state)):
        event = entry.get("event")
        if event is not None and event["kind"] not in HIDDEN:
            kept.append({"atS": entry["atS"]} | event)
        elif entry["kind"] == "paid":
            newest = entry["payments"][-1]
            paid = {"atS": entry["atS"], "kind": "paid", "payments": len(entry["payments"]), "amountMicro": newest["amountMicro"],
                    "throughRecord": newest["sequence"]}  # fmt: skip
            if kept and kept[-1]["kind"] == "paid":
                paid["payments"] += kept.pop()["payments"]
            kept.append(paid)
    for event in kept:
        yield orjson.dumps(event).decode() if as_json else _line(event)


def _line(event: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(event["atS"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    note = event.get("note") or {}
    why = event.get("why") or note.get("why")
    rest = {name: value for name, value in event.items() if name not in ("atS", "kind", "why", "note")}
    numbers = ", ".join(f"{name} {value}" for name, value in rest.items())
    return f"{at}  {event['kind']}" + (f"  {numbers}" if numbers else "") + (f"\n    {why}" if why else "")
