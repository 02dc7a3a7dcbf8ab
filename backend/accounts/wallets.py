"""Log-in with a wallet by EIP-4361 (Sign-In with Ethereum). The service writes the text, keeps its bytes, and compares them.

Nothing is parsed: a signature counts only over the very bytes that were stored for this nonce, once, until they expire. Accounts
with code (ERC-1271) cannot log in this way: the check runs without the chain. Source of the text's form: ERC-4361 (eips.ethereum.org).
"""

from __future__ import annotations

import hmac
import secrets
from datetime import UTC, datetime

from sqlalchemy import delete
from sqlalchemy.orm import Session

from protocol.errors import ProtocolError
from protocol.hashing import keccak
from protocol.keys import recover_address

from ..errors import Unauthorized
from ..models import SignInText
from ..models.base import HOUSE

VALID_S = 300
STATEMENT = "Log in to the Wattproof console. This signature moves no money and changes nothing on the chain."


def checksummed(wallet: bytes) -> str:
    """An address in mixed case. Source: EIP-55."""
    plain = wallet.hex()
    digits = keccak(plain.encode()).hex()
    return "0x" + "".join(letter.upper() if int(digit, 16) >= 8 else letter for letter, digit in zip(plain, digits, strict=False))


def write_text(db: Session, wallet: bytes, domain: str, uri: str, chain_id: int, now_s: int) -> SignInText:
    """A text for this wallet to sign. Given to any wallet, known or not, so that it does not say which are known."""
    nonce = secrets.token_hex(16)
    text = "\n".join(
        (
            f"{domain} wants you to sign in with your Ethereum account:",
            checksummed(wallet),
            "",
            STATEMENT,
            "",
            f"URI: {uri}",
            "Version: 1",
            f"Chain ID: {chain_id}",
            f"Nonce: {nonce}",
            f"Issued At: {_iso(now_s)}",
            f"Expiration Time: {_iso(now_s + VALID_S)}",
        )
    )
    db.execute(delete(SignInText).where(SignInText.expires_at_s <= now_s))
    row = SignInText(operator_id=HOUSE, nonce=nonce, wallet=wallet, text=text.encode(), expires_at_s=now_s + VALID_S)
    db.add(row)
    db.flush()
    return row


def take(db: Session, nonce: str, now_s: int) -> SignInText | None:
    """The text with this nonce, used up by asking: commit this before looking at the signature, whatever that says."""
    row = db.get(SignInText, nonce)
    if row is None:
        return None
    db.delete(row)
    db.flush()
    return row if row.expires_at_s > now_s else None


def check(row: SignInText | None, text: bytes, signature: bytes) -> bytes:
    """The wallet that signed the stored text. Raises `Unauthorized`."""
    if row is None:
        raise Unauthorized("this text was not written here, was used already, or expired; ask for a new one", "nonce")
    if not hmac.compare_digest(row.text, text):
        raise Unauthorized("the text is not the one this service wrote", "text")
    try:
        signer = recover_address(personal_digest(row.text), signature)
    except ProtocolError as error:
        raise Unauthorized(str(error), "signature") from None
    if signer != row.wallet:
        raise Unauthorized("another wallet signed than the one the text names", "signature")
    return row.wallet


def personal_digest(text: bytes) -> bytes:
    """What a wallet signs for `personal_sign`. Source: EIP-191, version 0x45."""
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(text)).encode() + text)


def _iso(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
