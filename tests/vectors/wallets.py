"""wallets.json: addresses and policies, and words of pay keys and owners that a wallet takes or refuses, each for one named error."""

from __future__ import annotations

from typing import Any

from protocol.eip712 import digest, to_json
from protocol.keys import Signer
from protocol.money import Open, RequestClose, TopUp
from protocol.wallet import Approval, OpenTask, OwnerCall, Policy, Standing, policy_document, policy_hash, wallet_address, wallet_domain

from .signed import hexed, high_s, signer, word

CHAIN_ID, FOREIGN_CHAIN_ID, NOW_S = 31_337, 1, 1_800_000_000
FACTORY, IMPLEMENTATION, ESCROW = (word(name)[:20] for name in ("wallet factory", "wallet implementation", "escrow"))
PAY_KEY, OWNER, THIEF = signer("pay key of a vehicle"), signer("owner of a vehicle"), signer("a thief")
DEVICE = word("a vehicle")
WALLET = wallet_address(FACTORY, IMPLEMENTATION, DEVICE, OWNER.address)
FOREIGN = wallet_address(FACTORY, IMPLEMENTATION, word("another vehicle"), OWNER.address)
STANDING = Standing(CHAIN_ID, WALLET, PAY_KEY.address, OWNER.address, 7, NOW_S)
WORDS = (
    Open(word("a session"), 5_000_000, NOW_S),
    TopUp(word("a session"), 9_000_000, NOW_S + 60),
    RequestClose(word("a session"), NOW_S + 60),
    OpenTask(word("a task"), 2_000_000, NOW_S + 60),
    OwnerCall(word("calldata"), 7, NOW_S + 60),
)


def _word(name: str, message: Any, signature: bytes, refusal: str = "", standing: Standing = STANDING) -> dict[str, Any]:
    shown = {
        "chainId": standing.chain_id, "wallet": hexed(standing.wallet), "payKey": hexed(standing.pay_key), "owner": hexed(standing.owner),
        "ownerNonce": standing.owner_nonce, "nowS": standing.now_s,
    }  # fmt: skip
    kind = type(message).__name__
    return {
        "name": f"{kind}: {name}", "kind": "word", "type": kind, "message": to_json(message), "standing": shown,
        "digest": hexed(digest(wallet_domain(standing.chain_id, standing.wallet), message)), "signature": hexed(signature),
        "good": not refusal, "fault": name if refusal else "", "refusal": refusal,
    }  # fmt: skip


def _words(message: Any) -> list[dict[str, Any]]:
    own, other = (OWNER, PAY_KEY) if isinstance(message, OwnerCall) else (PAY_KEY, OWNER)
    domain = wallet_domain(CHAIN_ID, WALLET)
    good = own.sign(digest(domain, message))

    def by(key: Signer, place: Any = domain, signed: Any = message) -> bytes:
        return key.sign(digest(place, signed))

    late = STANDING._replace(now_s=message.deadline_s + 1)
    bad = {
        "signed for a foreign chain": by(own, wallet_domain(FOREIGN_CHAIN_ID, WALLET)),
        "signed for a foreign wallet of the same owner": by(own, wallet_domain(CHAIN_ID, FOREIGN)),
        "signed in the escrow's own domain": by(own, wallet_domain(CHAIN_ID, ESCROW)),
        "signed by the owner's key" if own is PAY_KEY else "signed by the pay key": by(other),
        "signed by a thief": by(THIEF),
        "signed as an approval of its digest": by(own, domain, Approval(digest(domain, message))),
        "changed after signing": by(own, domain, message._replace(deadline_s=message.deadline_s + 1)),
        "high-s": high_s(good),
        "truncated signature": good[:64],
        "the zero address, which ecrecover gives for nonsense": bytes(64) + b"\x1b",
    }
    entries = [_word("as signed, at its deadline", message, good, standing=STANDING._replace(now_s=message.deadline_s))]
    entries += [_word(fault, message, signature, "SignatureRefused") for fault, signature in bad.items()]
    entries.append(_word("expired", message, good, "DeadlinePassed", late))
    if isinstance(message, OwnerCall):
        entries.append(_word("replayed", message, good, "NonceRefused", STANDING._replace(owner_nonce=8)))
        entries.append(_word("before its turn", message, good, "NonceRefused", STANDING._replace(owner_nonce=6)))
    else:
        replaced = STANDING._replace(pay_key=signer("the next pay key").address)
        entries.append(_word("after its key was replaced", message, good, "SignatureRefused", replaced))
    return entries


def _address(name: str, device: bytes, owner: bytes) -> dict[str, Any]:
    places = {"factory": hexed(FACTORY), "implementation": hexed(IMPLEMENTATION), "device": hexed(device), "owner": hexed(owner)}
    address = hexed(wallet_address(FACTORY, IMPLEMENTATION, device, owner))
    return {"name": f"address: {name}", "kind": "address", **places, "wallet": address, "good": True, "fault": ""}


def _policy(name: str, policy: Policy) -> dict[str, Any]:
    shown, hashed = policy_document(policy), hexed(policy_hash(policy))
    return {"name": f"policy: {name}", "kind": "policy", "policy": shown, "hash": hashed, "good": True, "fault": ""}


def _bad_policy(fault: str, where: str, **changes: Any) -> dict[str, Any]:
    document = policy_document(Policy(PAY_KEY.address, (), 1, 2, 3, 4, 5, 6)) | changes
    return {"name": f"policy: {fault}", "kind": "policy", "policy": document, "good": False, "fault": fault, "where": where}


def document() -> list[dict[str, Any]]:
    """The whole file."""
    most = (1 << 53) - 1
    entries = [
        _address("a vehicle", DEVICE, OWNER.address),
        _address("the same owner's other vehicle", word("another vehicle"), OWNER.address),
        _address("the same vehicle of a thief", DEVICE, THIEF.address),
        _address("every bit set", b"\xff" * 32, b"\xff" * 20),
        _policy("any registered provider", Policy(PAY_KEY.address, (), 300_000, 0, 50_000, 5_000_000, 12_000_000, NOW_S)),
        _policy("two providers", Policy(PAY_KEY.address, (word("a")[:20], word("b")[:20]), 1, 2, 3, 4, 5, 6)),
        _policy("as large as JSON carries it", Policy(b"\xff" * 20, (b"\xff" * 20,) * 64, *(most,) * 6)),
        _bad_policy("a pay key of zero", "Policy.payKey", payKey=hexed(bytes(20))),
        _bad_policy("a limit below zero", "Policy.maxDayMicro", maxDayMicro=-1),
        _bad_policy("a limit in fractions", "Policy.maxFlatMicro", maxFlatMicro=0.5),
        _bad_policy("a limit beyond 64 bits", "Policy.maxMicroPerKwh", maxMicroPerKwh=1 << 64),
        _bad_policy("too many providers", "Policy.providers", providers=[hexed(word("a")[:20])] * 65),
        _bad_policy("a provider of 19 bytes", "Policy.providers[0]", providers=[hexed(word("a")[:19])]),
        _bad_policy("an unknown field", "Policy", maxWeekMicro=1),
    ]
    return entries + [entry for message in WORDS for entry in _words(message)]
