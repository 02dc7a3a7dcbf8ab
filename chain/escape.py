"""Claims without a service: a provider's way to what payers signed when service and database are gone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from chain.calls import MAX_CLAIMS, Call, MeteredRow, PaidRow
from chain.client import ChainClient
from chain.errors import Permanent
from chain.oneshot import send
from chain.transactions import TransactionSigner
from protocol.eip712 import from_json, hex_bytes
from protocol.errors import Malformed
from protocol.money import MeteredCharge, Payment, Terms

MAX_FILE_BYTES = 64 * 1024 * 1024
"""About 40,000 sessions; an agent that had more writes several files."""


class Told(NamedTuple):
    """What became of each session, and whether every amount now stands as claimed."""

    lines: tuple[str, ...]
    all_stand: bool


def read_amounts(path: Path) -> list[PaidRow | MeteredRow]:
    """The rows of a file that `python -m meter_agent amounts` printed. Raises `Permanent` naming what is wrong and where."""
    try:
        with path.open("rb") as source:
            raw = source.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise Permanent(f"{path}: larger than {MAX_FILE_BYTES} bytes; claim in several files")
        document = json.loads(raw)
        items = document["items"]
        if not isinstance(items, list):
            raise TypeError
        return [_row(item, f"{path}: items[{index}]") for index, item in enumerate(items)]
    except OSError as error:
        raise Permanent(f"{path}: {error.strerror}") from error
    except Malformed as error:
        raise Permanent(str(error)) from error
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Permanent(f'{path}: is not {{"items": […]}}; make it with python -m meter_agent amounts') from None


def _row(item: Any, where: str) -> PaidRow | MeteredRow:
    if not isinstance(item, dict) or item.get("kind") not in ("payment", "charge"):
        raise Malformed("must have a kind, payment or charge", where)
    terms = from_json(Terms, item.get("terms"), f"{where}.terms")
    signature = hex_bytes(item.get("signature"), 65, f"{where}.signature")
    if item["kind"] == "payment":
        return PaidRow(from_json(Payment, item.get("amount"), f"{where}.amount"), terms, signature)
    return MeteredRow(from_json(MeteredCharge, item.get("amount"), f"{where}.amount"), terms, signature)


def claim_all(client: ChainClient, signer: TransactionSigner, rows: Sequence[PaidRow | MeteredRow], timeout_s: float) -> Told:
    """Claim every row that asks for more than was claimed, payee by payee, and say what the chain then says of each."""
    open_rows = [row for row in rows if _amount(row) > client.session(row.terms).claimed_micro]
    send(client, signer, list(_calls(client, open_rows)), timeout_s)
    lines, all_stand = [], True
    for row in rows:
        state, amount = client.session(row.terms), _amount(row)
        name = "0x" + _session(row).hex()[:16] + "…"
        stands = state.claimed_micro >= amount
        all_stand &= stands
        why = "" if stands else f": {_why_not(state)}"
        lines.append(f"{name}  signed {amount}  claimed {state.claimed_micro} micro-units{why}")
    return Told(tuple(lines), all_stand)


def _calls(client: ChainClient, rows: Sequence[PaidRow | MeteredRow]) -> list[Call]:
    calls = []
    for payee in dict.fromkeys(row.terms.payee for row in rows):
        paid = [row for row in rows if isinstance(row, PaidRow) and row.terms.payee == payee]
        metered = [row for row in rows if isinstance(row, MeteredRow) and row.terms.payee == payee]
        calls += [client.calls.claim_paid(payee, paid[at : at + MAX_CLAIMS]) for at in range(0, len(paid), MAX_CLAIMS)]
        calls += [client.calls.claim_metered(payee, metered[at : at + MAX_CLAIMS]) for at in range(0, len(metered), MAX_CLAIMS)]
    return calls


def _amount(row: PaidRow | MeteredRow) -> int:
    return row.payment.amount_micro if isinstance(row, PaidRow) else row.charge.amount_micro


def _session(row: PaidRow | MeteredRow) -> bytes:
    return row.payment.session if isinstance(row, PaidRow) else row.charge.session


def _why_not(state: Any) -> str:
    if not state.opened_at_s:
        return "it was never opened on this chain"
    if state.closed:
        return "it was closed before"
    return "the escrow skipped the row; its ClaimSkipped event names the reason"
