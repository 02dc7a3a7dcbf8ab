"""A wallet as the chain says it stands, with what its events told: a hint for the buyer, who checks what it signs by itself."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chain.errors import BadAnswer, ChainError, Reverted
from chain.rpc import Block
from chain.wallet_views import WalletState, WalletViews

from .. import jsons
from ..context import Service
from ..errors import Unavailable
from ..hexes import to_hex
from ..models import SessionRow, WalletRow

DAY_S = 86_400


class Seen(NamedTuple):
    """A wallet in the newest block."""

    state: WalletState
    block: Block


def ask(service: Service, wallet: bytes) -> Seen | None:
    """The wallet in the newest block; None where there is none. Ask outside a transaction. Raises `Unavailable`."""
    node = service.node()
    try:
        block = node.head()
        state = WalletViews(node).state(wallet, block.hash)
    except (BadAnswer, Reverted):
        return None  # something stands there, and it is no wallet of this factory
    except ChainError as error:
        raise Unavailable(f"the chain cannot be asked now: {error}", "wallet") from None
    return None if state is None else Seen(state, block)


def wallet_view(db: Session, wallet: bytes, seen: Seen | None) -> dict[str, Any]:
    """`policy` is shown while it is the standing one: right after a change its event may not be final here yet."""
    row, shown = db.get(WalletRow, wallet), {"wallet": to_hex(wallet), "lockedMicro": locked_micro(db, wallet)}
    if seen is None:
        nothing = dict.fromkeys(("owner", "device", "payKey", "policy", "policyHash", "dayNumber", "blockNumber"))
        return shown | nothing | {"deployed": False, "frozen": False, "freeMicro": 0, "dayMicro": 0}
    state = seen.state
    standing = row is not None and row.policy_hash == state.policy_hash
    policy = jsons.loads(row.policy) if row is not None and standing and row.policy is not None else None
    return shown | {
        "deployed": True, "owner": to_hex(state.owner), "device": to_hex(state.device),
        "payKey": None if policy is None else policy["payKey"], "policy": policy,
        "policyHash": to_hex(state.policy_hash) if any(state.policy_hash) else None, "frozen": state.frozen, "freeMicro": state.free_micro,
        "dayMicro": state.locked_today_micro, "dayNumber": seen.block.time_s // DAY_S, "blockNumber": seen.block.number,
    }  # fmt: skip


def locked_micro(db: Session, wallet: bytes, operator_id: int | None = None) -> int:
    """What the wallet's open sessions here (of one operator) hold and nobody claimed yet; by final events."""
    query = select(func.coalesce(func.sum(SessionRow.lock_micro - SessionRow.claimed_micro), 0)).where(
        SessionRow.payer == wallet, SessionRow.opened_at_s.is_not(None), SessionRow.closed_at_s.is_(None)
    )
    if operator_id is not None:
        query = query.where(SessionRow.operator_id == operator_id)
    return int(db.scalar(query) or 0)
