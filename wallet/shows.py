"""A wallet's state and history, as JSON documents and as tables for people."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group
from rich.table import Table

from chain.client import ChainClient
from chain.errors import Permanent
from chain.wallet_views import WalletViews
from protocol.wallet import policy_document

from .amounts import show_micro

MONEY = {
    "lockMicro": "locked",
    "totalLockMicro": "lock is now",
    "amountMicro": "amount",
    "claimedMicro": "claimed",
    "returnedMicro": "returned",
}


def wallet_document(client: ChainClient, wallet: bytes) -> dict[str, Any]:
    """The wallet at the newest block: amounts in micro-units, times in UTC seconds."""
    head = client.head()
    views = WalletViews(client)
    state = views.state(wallet, head.hash)
    if state is None:
        waiting = client.free_micro(wallet, head.hash), client.token_micro(wallet, head.hash)
        return {"wallet": _hex(wallet), "made": False, "freeMicro": waiting[0], "tokenMicro": waiting[1], "blockNumber": head.number}
    policy = views.policy(wallet, head.hash)
    return {
        "wallet": _hex(wallet), "made": True, "owner": _hex(state.owner), "device": _hex(state.device), "frozen": state.frozen,
        "freeMicro": state.free_micro, "taskFreeMicro": state.task_free_micro, "tokenMicro": state.token_micro,
        "lockedTodayMicro": state.locked_today_micro, "policy": None if policy is None else policy_document(policy),
        "blockNumber": head.number, "timeS": head.time_s,
    }  # fmt: skip


def wallet_table(document: dict[str, Any]) -> Any:
    table = Table(title=f"wallet {document['wallet']}", show_header=False, title_justify="left")
    table.add_row("free", show_micro(document["freeMicro"]))
    if document["tokenMicro"]:
        table.add_row("at its address", f"{show_micro(document['tokenMicro'])} (anyone may move it in: `deposit`)")
    if not document["made"]:
        table.add_row("state", "not made yet: python -m wallet create")
        return table
    if document["taskFreeMicro"]:
        table.add_row("free in tasks", show_micro(document["taskFreeMicro"]))
    table.add_row("state", "[red]frozen[/]: nothing new is locked" if document["frozen"] else "in use")
    table.add_row("owner", document["owner"])
    table.add_row("device", document["device"])
    policy = document["policy"]
    if policy is None:
        table.add_row("policy", "none: the pay key can do nothing")
        return table
    spent, most = document["lockedTodayMicro"], policy["maxDayMicro"]
    table.add_row("locked today", f"{_bar(spent, most)} {show_micro(spent)} of {show_micro(most)}")
    table.add_row("pay key", policy["payKey"])
    table.add_row("providers", ", ".join(policy["providers"]) or "any that is registered")
    for name, words in (
        ("maxMicroPerKwh", "highest kWh price"), ("maxMicroPerHour", "highest hour price"), ("maxFlatMicro", "highest flat price"),
        ("maxSessionMicro", "most a session"),
    ):  # fmt: skip
        table.add_row(words, show_micro(policy[name]))
    over = policy["expiresAtS"] < document["timeS"]
    table.add_row("expires", _time(policy["expiresAtS"]) + (" [red](expired)[/]" if over else ""))
    return table


def history_document(client: ChainClient, wallet: bytes) -> dict[str, Any]:
    """Every event about the wallet, oldest first."""
    views = WalletViews(client)
    if views.state(wallet) is None and not client.free_micro(wallet):
        raise Permanent(f"nothing is known of {_hex(wallet)} on this chain")
    times: dict[int, int] = {}
    items = []
    for entry in views.entries(wallet):
        at = times.setdefault(entry.block.number, 0) or views.time_s(entry)
        times[entry.block.number] = at
        items.append({
            "blockNumber": entry.block.number, "timeS": at, "transaction": _hex(entry.transaction), "contract": entry.contract,
            "event": entry.name, "values": {name: _plain(value) for name, value in entry.values.items()},
        })  # fmt: skip
    return {"wallet": _hex(wallet), "items": items}


def history_table(document: dict[str, Any]) -> Any:
    table = Table("when", "block", "what", "money", "which", title=f"wallet {document['wallet']}", title_justify="left")
    for item in document["items"]:
        values = item["values"]
        money = ", ".join(f"{words} {show_micro(values[name])}" for name, words in MONEY.items() if name in values)
        which = next((str(values[name])[:18] + "…" for name in ("session", "task", "to", "sender", "payKey") if name in values), "")
        table.add_row(_time(item["timeS"]), str(item["blockNumber"]), item["event"], money, which)
    return Group(table, f"{len(document['items'])} events")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return _hex(value)
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def _bar(part: int, whole: int, width: int = 20) -> str:
    full = width if part >= whole else width * part // whole
    return "█" * full + "░" * (width - full)


def _time(at_s: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_s))
    except (OverflowError, ValueError, OSError):
        return f"{at_s} s"  # a policy may say any 64-bit number


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()
