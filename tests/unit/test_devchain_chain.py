"""The development chain in process, on a clock of the test's own."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth._utils.address import generate_contract_address
from eth_account import Account
from wattproof_devchain.chain import Chain, Refused
from wattproof_devchain.evm import Call, Rejected
from wattproof_devchain.journal import Journal, JournalError

RETURN_TIMESTAMP = bytes.fromhex("426000526020 6000f3")  # TIMESTAMP, MSTORE at 0, RETURN 32 bytes
LOG_42 = bytes.fromhex("602a600052 7f" + "11" * 32 + "60206000a1 00")  # one topic, one word of data, STOP


class Clock:
    """Seconds that pass only when told."""

    def __init__(self, at_s: float = 1_800_000_000.0) -> None:
        self.at_s = at_s

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chain(tmp_path: Path, clock: Clock) -> Iterator[Chain]:
    chain = Chain(Journal(tmp_path / "j"), 1, clock=clock)
    yield chain
    chain.stop()


def signed(chain: Chain, nonce: int, *, sender: int = 0, to: bytes | None = None, **fields: object) -> bytes:
    transaction = {
        "chainId": 31337, "nonce": nonce, "gas": 100_000, "value": 1, "data": b"",
        "maxFeePerGas": 2 * 10**9, "maxPriorityFeePerGas": 1,
        "to": chain.accounts[1].address if to is None else to,
    } | fields  # fmt: skip
    if "gasPrice" in fields:
        del transaction["maxFeePerGas"], transaction["maxPriorityFeePerGas"]
    return bytes(Account.sign_transaction(transaction, chain.accounts[sender].key).raw_transaction)


def reopened(chain: Chain, path: Path, clock: Clock) -> Chain:
    chain.stop()
    return Chain(Journal(path), 1, clock=clock)


def test_many_transactions_stand_in_one_block_in_the_order_of_their_nonces(chain: Chain, clock: Clock) -> None:
    raws = [signed(chain, nonce, sender=sender) for nonce in range(20) for sender in (2, 3)]
    raws += [signed(chain, nonce, gasPrice=2 * 10**9) for nonce in (2, 1, 0)]
    for raw in raws:
        chain.send(raw)
    clock.at_s += 5
    block = chain.mine()
    assert len(block.transactions) == 43
    assert all(receipt.state_root == b"\x01" for receipt in block.receipts)
    assert chain.nonce(chain.accounts[0].address, block) == 3


def test_block_time_is_the_wall_clock_strictly_rising_and_never_ahead(chain: Chain, clock: Clock) -> None:
    miner = threading.Thread(target=chain.run)
    miner.start()
    newest, ahead = clock.at_s, []
    for step_s in (0.4, 0.4, 0.4, 7.0, -3.0, 0.1, 9.0, 0.2, 1.0):
        clock.at_s += step_s
        newest = max(newest, clock.at_s)
        deadline = time.monotonic() + 10
        while chain.head.timestamp < int(newest) and time.monotonic() < deadline:
            time.sleep(0.01)
        ahead.append(chain.head.timestamp > newest)
    chain.stop()
    miner.join(5)
    stamps = [chain.block(n).timestamp for n in range(chain.head.number + 1)]  # type: ignore[union-attr]
    assert not any(ahead)
    assert stamps == sorted(set(stamps))
    assert stamps[-1] == int(clock.at_s)


def test_a_transaction_sees_the_time_of_its_own_block(chain: Chain, clock: Clock) -> None:
    clock.at_s += 1000
    answer = chain.call(Call(bytes(20), b"", RETURN_TIMESTAMP, 0, None), None)
    assert int.from_bytes(answer, "big") == int(clock.at_s)
    block = chain.mine()
    later = chain.call(Call(bytes(20), b"", RETURN_TIMESTAMP, 0, None), block)
    assert int.from_bytes(later, "big") == block.timestamp == int(clock.at_s)


def test_replay_gives_the_same_blocks_and_keeps_recorded_times(chain: Chain, clock: Clock, tmp_path: Path) -> None:
    for nonce in range(5):
        chain.send(signed(chain, nonce))
        chain.send(signed(chain, nonce, sender=4, to=b"", data=LOG_42, value=0))
        clock.at_s += 3
        chain.mine()
    chain.increase_time(500)
    chain.mine()
    snapshot = chain.snapshot()
    chain.mine()
    assert chain.revert(snapshot)
    clock.at_s += 1
    chain.mine()
    before = [chain.block(n).hash for n in range(chain.head.number + 1)]  # type: ignore[union-attr]
    balance = chain.balance(chain.accounts[1].address, chain.head)
    clock.at_s += 86_400
    again = reopened(chain, tmp_path / "j", clock)
    assert [again.block(n).hash for n in range(again.head.number + 1)] == before  # type: ignore[union-attr]
    assert again.balance(again.accounts[1].address, again.head) == balance
    assert again.now() == int(clock.at_s) + 501  # 500, and the 1 that evm_mine took within one second
    again.stop()


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_torn_last_line_is_dropped_with_a_word(chain: Chain, clock: Clock, tmp_path: Path, cut: int) -> None:
    for _ in range(3):
        clock.at_s += 1
        chain.mine()
    chain.stop()
    path = tmp_path / "j"
    path.write_bytes(path.read_bytes()[:-cut])
    journal = Journal(path)
    again = Chain(journal, 1, clock=clock)
    assert again.head.number == 2
    assert journal.dropped_bytes > 0
    again.mine()
    third = reopened(again, path, clock)
    assert third.head.number == 3
    third.stop()


def test_damage_in_the_middle_is_refused_and_named(chain: Chain, clock: Clock, tmp_path: Path) -> None:
    for _ in range(3):
        clock.at_s += 1
        chain.mine()
    chain.stop()
    path = tmp_path / "j"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:-9] + b"\n" + b"".join(lines[2:]))
    journal = Journal(path)
    with pytest.raises(JournalError, match="line 2 is damaged"):
        Chain(journal, 1, clock=clock)
    journal.close()
    changed = json.loads(lines[2]) | {"timestamp": int(clock.at_s) + 7}
    path.write_bytes(b"".join(lines[:2]) + json.dumps(changed).encode() + b"\n" + lines[3])
    journal = Journal(path)
    with pytest.raises(JournalError, match=r"block 2 .* different when replayed"):
        Chain(journal, 1, clock=clock)
    journal.close()


def test_a_second_process_is_kept_out(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="another process"):
        Journal(tmp_path / "j")


def test_refusals_are_in_geths_words(chain: Chain) -> None:
    chain.send(signed(chain, 0, maxFeePerGas=10**9))
    for raw, words in [
        (signed(chain, 0, maxFeePerGas=10**9), "already known"),
        (signed(chain, 0, maxFeePerGas=10**9 + 1), "replacement transaction underpriced"),
        (signed(chain, 1, gas=20_000), "intrinsic gas too low"),
        (signed(chain, 1, gas=30_000_001), "exceeds block gas limit"),
        (signed(chain, 1, value=10**24), "insufficient funds"),
        (signed(chain, 5_000), "nonce too high"),
        (signed(chain, 1, chainId=1), "invalid chain id"),
        (b"\x02\xc0", "not a signed transaction"),
        (b"", "not a signed transaction"),
    ]:
        with pytest.raises(Rejected, match=words):
            chain.send(raw)
    chain.send(signed(chain, 0, maxFeePerGas=2 * 10**9, maxPriorityFeePerGas=2))
    block = chain.mine()
    assert [transaction.max_fee_per_gas for transaction in block.transactions] == [2 * 10**9]
    with pytest.raises(Rejected, match="nonce too low"):
        chain.send(signed(chain, 0, value=7))


def test_calls_as_deep_as_the_evm_allows_do_not_bring_it_down(chain: Chain) -> None:
    # A constructor that copies itself out as code which calls itself with all its gas: deep recursion in py-evm.
    runtime = "60006000600060006000305af100"
    init = f"6d{runtime}600052600e6012f3"
    chain.send(signed(chain, 0, to=b"", data=bytes.fromhex(init), value=0, gas=200_000))
    block = chain.mine()
    address = generate_contract_address(chain.accounts[0].address, 0)
    assert len(chain.code(address, block)) == 14
    finished: list[bytes] = []
    thread = threading.Thread(target=lambda: finished.append(chain.call(Call(bytes(20), address, b"", 0, None), block)))
    thread.start()
    thread.join(60)
    assert finished == [b""]


def test_a_transaction_with_a_gap_or_a_low_fee_waits(chain: Chain) -> None:
    chain.send(signed(chain, 1))
    chain.send(signed(chain, 0, sender=2, maxFeePerGas=1))
    assert chain.mine().transactions == ()
    chain.send(signed(chain, 0))
    assert [transaction.nonce for transaction in chain.mine().transactions] == [0, 1]
    assert chain.nonce(chain.accounts[2].address, None) == 1


def test_time_helpers_refuse_the_past(chain: Chain) -> None:
    with pytest.raises(Refused, match="later than"):
        chain.set_next_timestamp(chain.head.timestamp)
    with pytest.raises(Refused):
        chain.increase_time(2**41)
    chain.set_next_timestamp(chain.head.timestamp + 1000)
    assert chain.mine().timestamp + 1 == chain.mine().timestamp


def test_instant_mining_waits_for_the_clock_and_makes_no_empty_blocks(tmp_path: Path, clock: Clock) -> None:
    chain = Chain(Journal(tmp_path / "instant"), 0, clock=clock)
    miner = threading.Thread(target=chain.run)
    miner.start()
    for nonce in range(3):
        chain.send(signed(chain, nonce))
    deadline = time.monotonic() + 10
    while chain.nonce(chain.accounts[0].address, chain.head) < 3 and time.monotonic() < deadline:
        clock.at_s += 0.1
        time.sleep(0.02)
    assert 1 <= chain.head.number <= 3
    assert chain.head.timestamp <= clock.at_s
    mined = chain.head.number
    clock.at_s += 30
    time.sleep(0.2)
    assert chain.head.number == mined
    chain.stop()
    miner.join(5)
