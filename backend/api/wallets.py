"""Device wallets: how one stands, for its agent; and what its agent says for people to see."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path

from ..hexes import address_in, signature_in, to_hex
from ..wallets.notes import add_note
from ..wallets.views import ask, wallet_view
from .bodies import NoteBody
from .core_answers import NoteAnswer, WalletAnswer
from .depends import Db, ReadDb, TheService

router = APIRouter(prefix="/api/v1/wallets/{address}", tags=["wallets"])
Wallet = Annotated[str, Path(pattern=r"^0x[0-9a-fA-F]{40}$")]


@router.get("", response_model=WalletAnswer)
def get_wallet(address: Wallet, service: TheService, db: ReadDb) -> dict[str, Any]:
    """What the chain says of a wallet, in its newest block. All of it is public there; a hint for the buyer."""
    wallet = address_in(address, "address")
    state = ask(service, wallet)
    return wallet_view(db, wallet, state)


@router.post("/notes", status_code=201, response_model=NoteAnswer)
def post_note(address: Wallet, body: NoteBody, service: TheService, db: Db) -> dict[str, Any]:
    """A choice, a refusal or a stop, signed by the wallet's pay key, for people to see. The same again is a success."""
    signature = signature_in(body.signature, "signature")
    note = add_note(db, service, address_in(address, "address"), body.document, body.madeAtS, signature)
    return {"noteHash": to_hex(note.digest)}
