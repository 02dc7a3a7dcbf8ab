"""Device wallets as payers, on a real chain: their pay key's word relayed under the standing policy, and what is refused at the door."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from eth_account import Account

from chain.abi import interface
from chain.calls import Call
from chain.oneshot import send
from chain.transactions import TransactionSigner
from protocol.eip712 import digest, to_json
from protocol.evidence import Reason
from protocol.keys import Signer
from protocol.money import Open, Payment
from protocol.wallet import Approval, policy_document
from protocol.wire import decode_frame
from tests.service.bench_agent import BenchAgent
from tests.service.buyers import Wallet
from tests.service.world import World, eventually

pytestmark = pytest.mark.timeout(400)  # starts a chain and the programs; a loaded machine takes its time


@pytest.fixture(scope="module")
def wallet(world: World) -> Wallet:
    made = Wallet(world)
    made.fund(1_000_000)
    return made


@pytest.fixture
def point(world: World) -> Iterator[tuple[BenchAgent, str]]:
    agent = BenchAgent(world)
    point_id = agent.enrol()
    agent.vouch()
    agent.connect()
    yield agent, point_id
    agent.close()


def name_of(answer: dict[str, Any]) -> str:
    return str(answer["type"].rpartition(":")[2])


def test_a_session_through_a_wallet_from_open_to_settled(world: World, wallet: Wallet, point: tuple[BenchAgent, str]) -> None:
    agent, point_id = point
    before = world.client.free_micro(wallet.address)
    quoted = wallet.quote(point_id, 20_000)
    body = wallet.opening(quoted, 20_000)
    world.call("POST", "/api/v1/sessions", body, expect=201)
    wallet.reaches(quoted, "running")
    agent.send(agent.frame(agent.record(Reason.START)))
    wallet.top_up(quoted, 30_000)
    path = f"/api/v1/sessions/{quoted['session']}"
    eventually("the higher lock", lambda: world.call("GET", path, token=quoted["accessToken"])["lockMicro"] == 30_000)
    view = world.call("GET", f"/api/v1/wallets/{wallet.hex}")
    assert (view["deployed"], view["frozen"], view["dayMicro"], view["lockedMicro"]) == (True, False, 30_000, 30_000)
    assert view["freeMicro"] == before - 30_000
    assert view["policy"] == policy_document(wallet.policy)
    assert view["payKey"] == "0x" + wallet.pay_key.address.hex()
    assert view["dayNumber"] == int(time.time()) // 86_400
    agent.clock = max(agent.clock, int(time.time()) - 1)
    agent.send(agent.frame(agent.record(rise=1_000, power=3_600_000)))
    wallet.stop(quoted)
    agent.send(agent.frame(agent.record(Reason.STOP)))
    settled = wallet.reaches(quoted, "settled")
    assert (settled["endCause"], settled["claimedMicro"]) == ("PAYER_STOP", 357)
    assert world.client.free_micro(wallet.address) == before - 357
    assert world.call("POST", "/api/v1/sessions", body, expect=200)["state"] == "settled"  # the same again, whatever the chain says by now
    assert world.call("GET", "/api/v1/wallets/0x" + "12" * 20)["deployed"] is False
    assert world.call("GET", f"/api/v1/wallets/0x{world.deployment.escrow.hex()}")["deployed"] is False


@pytest.mark.slow
def test_what_the_wallet_would_refuse_is_refused_at_the_door_by_its_name(
    world: World, wallet: Wallet, point: tuple[BenchAgent, str]
) -> None:  # fmt: skip
    _, point_id = point
    policy = wallet.policy
    quoted = wallet.quote(point_id, 20_000)
    body = wallet.opening(quoted, 20_000)

    def refused(**changes: Any) -> str:
        return name_of(world.call("POST", "/api/v1/sessions", body | changes, expect=409))

    def opening(lock_micro: int) -> str:
        return name_of(wallet.open(quoted, lock_micro, expect=409))

    other = policy_document(policy._replace(max_day_micro=10**9))
    assert refused(wallet=other) == "PolicyNotStanding"
    signature = wallet.sign(Open(bytes.fromhex(quoted["session"][2:]), 20_000, body["deadlineS"]), Signer.create())
    assert refused(signature=signature) == "SignatureRefused"
    assert refused(lockMicro=20_001) == "SignatureRefused"
    assert opening(50_001) == "AboveSessionLimit"
    me = "0x" + world.payer.address.hex()
    astray = wallet.quote(point_id, 20_000, refundTo=me)
    assert name_of(wallet.open(astray, 20_000, expect=409)) == "RefundToNotWallet"
    payment = wallet.quote(point_id, 20_000, metered=False, signer=me)
    assert name_of(wallet.open(payment, 20_000, expect=409)) == "SignerNotPayKey"
    foreign = wallet.quote(point_id, 20_000, payer=me)
    assert name_of(wallet.open(foreign, 20_000, expect=409)) == "SignatureRefused"  # the domain is the payer's
    for change, name in (
        ({"max_micro_per_kwh": 356_999}, "KwhCeilingAbovePolicy"), ({"providers": (bytes(19) + b"\1",)}, "ProviderNotListed"),
        ({"expires_at_s": int(time.time()) - 1}, "PolicyExpired"), ({"max_day_micro": 19_999}, "AboveDayLimit"),
        ({"max_session_micro": 10**9, "max_day_micro": 10**9}, ""),
    ):  # fmt: skip
        wallet.set_policy(policy._replace(**change))
        if name:
            assert opening(20_000) == name
    assert opening(900_000_000) == "BalanceTooLow"
    wallet.send(wallet.calls.freeze(wallet.address))
    assert opening(20_000) == "WalletFrozen"
    wallet.send(wallet.calls.unfreeze(wallet.address))
    assert world.call("POST", "/api/v1/sessions", body | {"wallet": {"payKey": me}}, expect=400)["title"]
    wallet.set_policy(policy)
    opens = [row for row in world.call("GET", "/api/v1/transactions")["items"] if "DeviceWallet" in row["what"]]
    assert not [row for row in opens if row["state"] in ("refused", "reverted")]
    wallet.open(quoted, 20_000)  # and the honest one still goes
    wallet.reaches(quoted, "running")


@pytest.mark.slow
def test_a_policy_changed_while_a_session_runs_holds_for_new_money_only(
    world: World, wallet: Wallet, point: tuple[BenchAgent, str]
) -> None:  # fmt: skip
    agent, point_id = point
    quoted = wallet.quote(point_id, 10_000)
    wallet.open(quoted, 10_000)
    wallet.reaches(quoted, "running")
    agent.send(agent.frame(agent.record(Reason.START)))
    old, key = wallet.policy, wallet.pay_key
    wallet.pay_key = Signer.create()
    wallet.set_policy(old._replace(pay_key=wallet.pay_key.address, max_micro_per_kwh=1))
    assert name_of(wallet.top_up(quoted, 12_000, expect=409)) == "KwhCeilingAbovePolicy"
    agent.clock = max(agent.clock, int(time.time()) - 1)
    agent.send(agent.frame(agent.record(rise=1_000, power=3_600_000)))  # what is locked goes on as agreed
    wallet.stop(quoted)  # and the new pay key can end it
    agent.send(agent.frame(agent.record(Reason.STOP)))
    assert wallet.reaches(quoted, "settled")["claimedMicro"] == 357
    wallet.pay_key = key
    wallet.set_policy(old)


@pytest.mark.slow
def test_any_account_with_code_can_pay_if_it_takes_the_signature(world: World, wallet: Wallet, point: tuple[BenchAgent, str]) -> None:
    """ERC-1271 in general: here the wallet's owner signs for it, without any policy shown."""
    _, point_id = point
    quoted = wallet.quote(point_id, 5_000)
    session, deadline_s = bytes.fromhex(quoted["session"][2:]), int(time.time()) + 600
    wanted = digest(world.money, Open(session, 5_000, deadline_s))
    body = {"quoteId": quoted["quoteId"], "lockMicro": 5_000, "deadlineS": deadline_s}
    owner = Signer(world.secrets[4])
    bad = world.call("POST", "/api/v1/sessions", body | {"signature": "0x" + owner.sign(wanted).hex()}, expect=400)
    assert "ERC-1271" in bad["detail"]
    no_code = world.payer.quote(point_id, 5_000)
    stranger = "0x" + Signer.create().sign(wanted).hex()
    none = world.call("POST", "/api/v1/sessions", body | {"quoteId": no_code["quoteId"], "signature": stranger}, expect=400)
    assert "the payer signs Open" in none["detail"]
    world.call("POST", "/api/v1/sessions", body | {"signature": wallet.sign(Approval(wanted), owner)}, expect=201)
    wallet.reaches(quoted, "running")


def test_notes_are_the_pay_keys_word(world: World, wallet: Wallet) -> None:
    eventually("the policy's event", lambda: world.call("GET", f"/api/v1/wallets/{wallet.hex}")["policy"])
    choice = {"kind": "choice", "why": "Sunside costs 0.30 a kWh, Moonside 0.42", "offers": [{"name": "Sunside"}]}
    refusal = {"kind": "refusal", "session": "0x" + "11" * 32, "frame": "0x" + "22" * 32, "why": "20 % more than mine",
               "ownMilliwattHours": 1_000, "sellerMilliwattHours": 1_200}  # fmt: skip
    assert wallet.note(choice) == wallet.note(choice)
    wallet.note(refusal)
    for bad in ({"kind": "poem", "why": "x"}, choice | {"more": 1}, {"kind": "stopped", "why": ""}, refusal | {"ownMilliwattHours": -1},
                refusal | {"frame": "0x12"}, choice | {"offers": ["x" * 9_000]}):  # fmt: skip
        wallet.note(bad, expect=400)
    honest, wallet.pay_key = wallet.pay_key, Signer.create()
    assert "pay key" in wallet.note(choice | {"why": "forged"}, expect=400)["detail"]
    wallet.pay_key = honest


@pytest.mark.slow
def test_logs_that_only_look_like_a_wallets_are_not_followed(world: World) -> None:
    """Anybody can deploy what speaks like a wallet: the reading goes on, and nothing of it is kept."""
    topics = {event.name: topic for topic, event in interface("DeviceWallet").events.items()}
    runtime = b"\x7f" + topics["PolicySet"] + b"\x60\x20\x60\x00\xa1\x00"  # PUSH32 topic, PUSH1 32, PUSH1 0, LOG1
    code = b"\x60" + bytes([len(runtime)]) + b"\x80\x60\x0b\x60\x00\x39\x60\x00\xf3" + runtime
    sender = TransactionSigner(world.client, world.secrets[5])
    raw = Account.sign_transaction({
        "chainId": world.deployment.chain_id, "nonce": world.client.nonce(sender.address), "value": 0, "data": code,
        "gas": 200_000, "gasPrice": world.client.gas_price_wei() * 2,
    }, world.secrets[5])  # fmt: skip
    made = world.client.send(bytes(raw.raw_transaction))
    receipt = eventually("the contract", lambda: world.client.receipt(made))
    assert receipt.created is not None
    send(world.client, sender, [Call(receipt.created, b"", "mimic")])
    other = Wallet(world)
    eventually("events after it", lambda: world.call("GET", f"/api/v1/wallets/{other.hex}")["policy"])
    assert world.call("GET", f"/api/v1/wallets/0x{receipt.created.hex()}")["deployed"] is False


@pytest.mark.slow
def test_a_payer_follows_frames_and_pays_each_of_them(world: World, wallet: Wallet, point: tuple[BenchAgent, str]) -> None:
    """Payment mode through a wallet: the stream gives every frame once and in order; each is paid; the last state is settled."""
    agent, point_id = point
    quoted = wallet.quote(point_id, 10_000, metered=False, signer="0x" + wallet.pay_key.address.hex())
    wallet.open(quoted, 10_000)
    wallet.reaches(quoted, "open")
    told: list[tuple[str, dict[str, Any]]] = []
    path = f"{world.url}/api/v1/sessions/{quoted['session']}/stream"
    token = {"Authorization": f"Bearer {quoted['accessToken']}"}
    assert httpx2.get(path, timeout=10).status_code == 401

    def follow() -> None:
        with httpx2.stream("GET", path, headers=token, timeout=30) as answer:
            name = ""
            for line in answer.iter_lines():
                name = line[6:].strip() if line.startswith("event:") else name
                if line.startswith("data:"):
                    told.append((name, json.loads(line[5:])))
                    if name == "frame":
                        pay(told[-1][1])

    def pay(document: dict[str, Any]) -> None:
        frame = decode_frame(json.dumps(document).encode())
        if frame.records[0].reason != Reason.PERIODIC:
            return  # nothing more was used
        used = sum(seen == "frame" for seen, _ in told) - 1
        payment = Payment(bytes.fromhex(quoted["session"][2:]), 357 * used, frame.digest)
        body = to_json(payment) | {"signature": "0x" + wallet.pay_key.sign(digest(world.money, payment)).hex()}
        answer = world.call("POST", "/api/v1/payments", {"payments": [body]})
        assert answer["accepted"] + answer["repeated"] == 1, answer

    first = Payment(bytes.fromhex(quoted["session"][2:]), 1, bytes(32))
    body = to_json(first) | {"signature": "0x" + wallet.pay_key.sign(digest(world.money, first)).hex()}
    assert world.call("POST", "/api/v1/payments", {"payments": [body]})["accepted"] == 1
    wallet.reaches(quoted, "running")
    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    agent.send(agent.frame(agent.record(Reason.START, rise=0)), charge=False)
    for _ in range(3):
        agent.clock = max(agent.clock, int(time.time()) - 1)
        agent.send(agent.frame(agent.record(rise=1_000, power=3_600_000)), charge=False)
    eventually("four frames", lambda: sum(name == "frame" for name, _ in told) == 4)
    wallet.stop(quoted)
    agent.send(agent.frame(agent.record(Reason.STOP)), charge=False)
    settled = wallet.reaches(quoted, "settled")
    follower.join(10)
    frames = [decode_frame(json.dumps(document).encode()) for name, document in told if name == "frame"]
    assert [frame.digest for frame in frames] == [signed.digest for signed in agent.sent]
    states = [document["state"] for name, document in told if name == "state"]
    assert states[0] == "running"
    assert states[-1] == "settled"
    assert settled["claimedMicro"] == 3 * 357
    again = httpx2.get(path + f"?after={frames[1].last_sequence}", headers=token, timeout=10).text  # from where it stopped; ends by itself
    assert again.count("event: frame") == 3
    assert again.count('"settled"') >= 1
