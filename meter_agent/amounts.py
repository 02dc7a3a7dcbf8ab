"""`python -m meter_agent amounts`: what payers and charge keys signed, out of this agent's own log.

With service and database gone, this is what a provider claims with: the highest amount of each session, its terms and its signature, as
`python -m chain claim` takes them. Reads the log only; needs no passphrase; works while the agent runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from protocol.eip712 import from_json, hex_bytes
from protocol.money import Terms, session_id

from .report import entries


def signed_amounts(state_folder: Path) -> dict[str, Any]:
    """`{"items":[{"session","terms","kind","amount","signature"}]}`, a session once, in the order of the log."""
    terms: dict[str, dict[str, Any]] = {}
    best: dict[str, dict[str, Any]] = {}
    for entry in entries(state_folder / "log"):
        live = entry.state.live if entry.state is not None else None
        if live is not None:
            terms["0x" + live.session.hex()] = live.granted["grant"]
            if live.payment is not None:
                _keep(best, "payment", live.payment)
        if entry.charge is not None:
            _keep(best, "charge", entry.charge)
    return {"items": [item | {"terms": terms[session]["terms"]} for session, item in best.items() if _known(session, terms)]}


def _keep(best: dict[str, dict[str, Any]], kind: str, document: dict[str, Any]) -> None:
    session, amount = document["session"], {name: value for name, value in document.items() if name != "signature"}
    if session not in best or amount["amountMicro"] > best[session]["amount"]["amountMicro"]:
        best[session] = {"session": session, "kind": kind, "amount": amount, "signature": document["signature"]}


def _known(session: str, grants: dict[str, dict[str, Any]]) -> bool:
    """Whether the log still has the grant, and it is this session's: older segments may have been given up."""
    grant = grants.get(session)
    if grant is None:
        return False
    escrow = hex_bytes(grant["escrow"], 20, "escrow")
    return "0x" + session_id(from_json(Terms, grant["terms"]), grant["chainId"], escrow).hex() == session
