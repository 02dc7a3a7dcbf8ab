"""Device wallets: their address, their owner's policy, and the messages that only wallets know.

The pay key signs `Open`, `TopUp` and `RequestClose` (protocol.money) and `OpenTask` in the wallet's domain; `Payment` in the escrow's.
The owner signs `OwnerCall` (one call, once) and `Approval` (ERC-1271: another contract's digest, for this wallet alone) there. As in
DeviceWallet.sol and DeviceWalletFactory.sol; vectors in tests/vectors/wallets.json.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .eip712 import Domain, digest, hex_bytes, money_domain, struct
from .errors import BadSignature, Malformed, ProtocolError
from .hashing import keccak
from .keys import check_signature
from .money import Open, RequestClose, Terms, TopUp

MAX_PROVIDERS = 64
"""A list is searched and paid for as calldata at every open (700 gas an entry); who trusts more uses the provider book."""
_LIMITS = ("max_micro_per_kwh", "max_micro_per_hour", "max_flat_micro", "max_session_micro", "max_day_micro", "expires_at_s")
_NAMES = ("maxMicroPerKwh", "maxMicroPerHour", "maxFlatMicro", "maxSessionMicro", "maxDayMicro", "expiresAtS")


class Policy(NamedTuple):
    """All that a pay key may do, as DeviceWallet takes it. No provider listed: any that the provider book has."""

    pay_key: bytes
    providers: tuple[bytes, ...]
    max_micro_per_kwh: int
    max_micro_per_hour: int
    max_flat_micro: int
    max_session_micro: int
    max_day_micro: int
    expires_at_s: int


@struct("OwnerCall(bytes32 callHash,uint256 nonce,uint64 deadlineS)")
class OwnerCall(NamedTuple):
    """The owner's word for one call of its wallet: keccak of the calldata, and the standing `ownerNonce`."""

    call_hash: bytes
    nonce: int
    deadline_s: int


@struct("Approval(bytes32 digest)")
class Approval(NamedTuple):
    """The owner's word, through the wallet (ERC-1271), for a digest of another contract's domain."""

    digest: bytes


@struct("OpenTask(bytes32 task,uint64 lockMicro,uint64 deadlineS)")
class OpenTask(NamedTuple):
    """The pay key's word to lock money for a task."""

    task: bytes
    lock_micro: int
    deadline_s: int


@struct("WalletNote(address wallet,bytes32 documentHash,uint64 madeAtS)")
class WalletNote(NamedTuple):
    """The pay key's word for people to see (docs/walls-wallets.md); no contract knows it. The document is hashed in its RFC 8785 form."""

    wallet: bytes
    document_hash: bytes
    made_at_s: int


def wallet_domain(chain_id: int, wallet: bytes) -> Domain:
    """The domain of everything a wallet's pay key or owner signs for it; `wallet` is its 20-byte address."""
    return money_domain(chain_id, wallet)


def wallet_address(factory: bytes, implementation: bytes, device: bytes, owner: bytes) -> bytes:
    """Where the factory puts the wallet of `device` (32 bytes) and `owner` (20): known before it is there.

    CREATE2 (EIP-1014) of OpenZeppelin's minimal proxy (EIP-1167) with owner ‖ device behind it; salt keccak(abi.encode(device, owner)).
    """
    arguments = owner + device
    code = (
        b"\x61" + (45 + len(arguments)).to_bytes(2, "big") + bytes.fromhex("3d81600a3d39f3363d3d373d3d3d363d73")
        + implementation + bytes.fromhex("5af43d82803e903d91602b57fd5bf3") + arguments
    )  # fmt: skip
    salt = keccak(device + bytes(12) + owner)
    return keccak(b"\xff" + factory + salt + keccak(code))[12:]


def check_policy(policy: Policy) -> None:
    """Raise `Malformed` naming the field that is out of its range."""
    if len(policy.pay_key) != 20 or not any(policy.pay_key):
        raise Malformed("must be the 20 bytes of a key's address", "Policy.payKey")
    if len(policy.providers) > MAX_PROVIDERS:
        count = len(policy.providers)
        raise Malformed(f"lists {count}, more than {MAX_PROVIDERS}; list none and use the provider book", "Policy.providers")
    for index, provider in enumerate(policy.providers):
        if len(provider) != 20:
            raise Malformed("must be 20 bytes", f"Policy.providers[{index}]")
    for name, value in zip(_NAMES, policy[2:], strict=True):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
            raise Malformed("must be an integer in 0…2^64-1", f"Policy.{name}")


def policy_hash(policy: Policy) -> bytes:
    """What the wallet keeps of its policy: keccak(abi.encode(policy)). Raises `Malformed`."""
    check_policy(policy)
    words = [0x20, int.from_bytes(policy.pay_key, "big"), 8 * 32, *policy[2:], len(policy.providers)]
    tail = b"".join(bytes(12) + provider for provider in policy.providers)
    return keccak(b"".join(word.to_bytes(32, "big") for word in words) + tail)


def policy_document(policy: Policy) -> dict[str, Any]:
    """A policy as a JSON object: Solidity names, addresses as lower-case 0x hex."""
    shown = {"payKey": "0x" + policy.pay_key.hex(), "providers": ["0x" + each.hex() for each in policy.providers]}
    return shown | dict(zip(_NAMES, policy[2:], strict=True))


def parse_policy(document: Any, where: str = "Policy") -> Policy:
    """A policy from its JSON object: exactly its fields. Raises `Malformed` naming the field."""
    if not isinstance(document, dict):
        raise Malformed("must be an object", where)
    known = {"payKey", "providers", *_NAMES}
    for name in sorted(map(str, set(document) ^ known)):
        raise Malformed(f"{'unknown field' if name not in known else 'is missing'} {name!r}", where)
    listed = document["providers"]
    if not isinstance(listed, list) or len(listed) > MAX_PROVIDERS:
        raise Malformed(f"must be a list of at most {MAX_PROVIDERS} addresses", f"{where}.providers")
    providers = tuple(hex_bytes(each, 20, f"{where}.providers[{index}]") for index, each in enumerate(listed))
    policy = Policy(hex_bytes(document["payKey"], 20, f"{where}.payKey"), providers, *(document[name] for name in _NAMES))
    check_policy(policy)
    return policy


def refusal(policy: Policy, terms: Terms, wallet: bytes, registered: bool) -> str:
    """Why the wallet would refuse new money under these terms, apart from sums and times: the contract's error, or empty.

    `registered`: whether the provider book has the payee. For a device that would rather know before it signs.
    """
    listed = bool(policy.providers)
    checks = (
        (terms.payer == wallet, "NotPayer"),
        (terms.refund_to == wallet, "RefundToNotWallet"),
        (terms.metered or terms.signer == policy.pay_key, "SignerNotPayKey"),
        (terms.max_micro_per_kwh <= policy.max_micro_per_kwh, "KwhCeilingAbovePolicy"),
        (terms.max_micro_per_hour <= policy.max_micro_per_hour, "HourCeilingAbovePolicy"),
        (terms.max_flat_micro <= policy.max_flat_micro, "FlatCeilingAbovePolicy"),
        (not listed or terms.payee in policy.providers, "ProviderNotListed"),
        (listed or registered, "ProviderNotRegistered"),
    )
    return next((name for holds, name in checks if not holds), "")


class WordRefused(ProtocolError):
    """A word of a pay key or an owner that its wallet would refuse. `code` is the contract's error."""

    def __init__(self, code: str, what: str) -> None:
        self.code = code
        super().__init__(what)


class Standing(NamedTuple):
    """What a wallet goes by when it judges a word: from the chain, as of a block made at `now_s`."""

    chain_id: int
    wallet: bytes
    pay_key: bytes
    owner: bytes
    owner_nonce: int
    now_s: int


def check_word(word: Open | TopUp | RequestClose | OpenTask | OwnerCall, signature: bytes, standing: Standing) -> None:
    """Raise `WordRefused` unless the wallet would take this signed word now; for whoever relays it.

    Not checked: the policy, and for an owner that is an account with code the signature (only the chain can ask it).
    """
    if isinstance(word, OwnerCall) and word.nonce != standing.owner_nonce:
        raise WordRefused("NonceRefused", f"the owner's next call has nonce {standing.owner_nonce}, this one {word.nonce}")
    if standing.now_s > word.deadline_s:
        raise WordRefused("DeadlinePassed", f"it was good until {word.deadline_s}, and it is {standing.now_s}")
    signer = standing.owner if isinstance(word, OwnerCall) else standing.pay_key
    try:
        check_signature(digest(wallet_domain(standing.chain_id, standing.wallet), word), signature, signer)
    except BadSignature as error:
        raise WordRefused("SignatureRefused", str(error)) from error
