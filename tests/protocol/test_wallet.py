"""Wallets in the protocol: addresses, policies and words, by their golden vectors and against encoders that are not ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_abi import encode
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from protocol.eip712 import digest, from_json, hex_bytes, struct_hash, typed_data
from protocol.errors import Malformed
from protocol.hashing import keccak
from protocol.money import Open, RequestClose, Terms, TopUp
from protocol.wallet import (
    MAX_PROVIDERS,
    Approval,
    OpenTask,
    OwnerCall,
    Policy,
    Standing,
    WordRefused,
    check_word,
    parse_policy,
    policy_document,
    policy_hash,
    refusal,
    wallet_address,
    wallet_domain,
)  # fmt: skip
from tests.vectors import generate

VECTORS: list[dict[str, Any]] = json.loads((Path(generate.__file__).parent / "wallets.json").read_text("utf-8"))["vectors"]
WORDS: dict[str, Any] = {cls.__name__: cls for cls in (Open, TopUp, RequestClose, OpenTask, OwnerCall)}
WORD, ADDRESS, LIMIT = st.binary(min_size=32, max_size=32), st.binary(min_size=20, max_size=20), st.integers(0, 2**64 - 1)


def raw(text: str) -> bytes:
    return hex_bytes(text, None, "vector")


def of(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", [v for v in VECTORS if v["kind"] == kind], ids=lambda vector: vector["name"])


@of("address")
def test_address(vector: dict[str, Any]) -> None:
    places = [raw(vector[name]) for name in ("factory", "implementation", "device", "owner")]
    assert wallet_address(*places) == raw(vector["wallet"])


@of("policy")
def test_policy(vector: dict[str, Any]) -> None:
    if not vector["good"]:
        with pytest.raises(Malformed) as error:
            parse_policy(vector["policy"])
        assert error.value.where == vector["where"]
        return
    policy = parse_policy(vector["policy"])
    assert policy_document(policy) == vector["policy"]
    assert policy_hash(policy) == raw(vector["hash"])


@of("word")
def test_word(vector: dict[str, Any]) -> None:
    message = from_json(WORDS[vector["type"]], vector["message"])
    shown = vector["standing"]
    standing = Standing(
        shown["chainId"], raw(shown["wallet"]), raw(shown["payKey"]), raw(shown["owner"]), shown["ownerNonce"], shown["nowS"]
    )  # fmt: skip
    assert digest(wallet_domain(standing.chain_id, standing.wallet), message) == raw(vector["digest"])
    if vector["good"]:
        check_word(message, raw(vector["signature"]), standing)
        return
    with pytest.raises(WordRefused) as error:
        check_word(message, raw(vector["signature"]), standing)
    assert error.value.code == vector["refusal"]


@given(pay_key=ADDRESS.filter(any), providers=st.lists(ADDRESS, max_size=MAX_PROVIDERS), limits=st.lists(LIMIT, min_size=6, max_size=6))
def test_a_policy_hashes_as_solidity_encodes_it(pay_key: bytes, providers: list[bytes], limits: list[int]) -> None:
    policy = Policy(pay_key, tuple(providers), *limits)
    shown = ("0x" + pay_key.hex(), ["0x" + each.hex() for each in providers], *limits)
    assert policy_hash(policy) == keccak(encode(["(address,address[],uint64,uint64,uint64,uint64,uint64,uint64)"], [shown]))


@given(word=WORD, sum_=LIMIT, deadline=LIMIT, nonce=st.integers(0, 2**256 - 1))
def test_words_hash_as_the_generic_encoder_does(word: bytes, sum_: int, deadline: int, nonce: int) -> None:
    domain = wallet_domain(31_337, b"\x11" * 20)
    for message in (OwnerCall(word, nonce, deadline), Approval(word), OpenTask(word, sum_, deadline)):
        assert encode_typed_data(full_message=typed_data(domain, message)).body == struct_hash(message)


def test_a_device_knows_what_its_wallet_would_refuse() -> None:
    wallet, payee, key = b"\x01" * 20, b"\x02" * 20, b"\x03" * 20
    policy = Policy(key, (payee,), 10, 10, 10, 10, 10, 10)
    good = Terms(
        wallet, payee, wallet, bytes(32), False, key, bytes(32), bytes(32), 10, 10, 10, 1, 2, 0, 0, 0, bytes(32)
    )  # fmt: skip
    assert refusal(policy, good, wallet, registered=False) == ""
    assert refusal(policy, good._replace(metered=True, signer=payee), wallet, registered=False) == ""
    wrong: dict[str, dict[str, Any]] = {
        "NotPayer": {"payer": payee}, "RefundToNotWallet": {"refund_to": key}, "SignerNotPayKey": {"signer": payee},
        "KwhCeilingAbovePolicy": {"max_micro_per_kwh": 11}, "HourCeilingAbovePolicy": {"max_micro_per_hour": 11},
        "FlatCeilingAbovePolicy": {"max_flat_micro": 11}, "ProviderNotListed": {"payee": key},
    }  # fmt: skip
    for error, change in wrong.items():
        assert refusal(policy, good._replace(**change), wallet, registered=True) == error
    assert refusal(policy._replace(providers=()), good, wallet, registered=False) == "ProviderNotRegistered"
    assert refusal(policy._replace(providers=()), good, wallet, registered=True) == ""
