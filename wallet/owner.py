"""What an owner does with a wallet: each act one or two transactions, sent and awaited until they are final."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from chain.calls import Call
from chain.client import ChainClient
from chain.deployment import Deployment
from chain.errors import Permanent
from chain.oneshot import send
from chain.task_calls import CONTRACT as TASK_ESCROW
from chain.task_calls import TaskCalls
from chain.task_views import TaskViews
from chain.transactions import TransactionSigner
from chain.wallet_calls import Wallets, owner_order
from chain.wallet_views import WalletState, WalletViews
from protocol.eip712 import digest, money_domain
from protocol.keys import Signer
from protocol.money import RequestClose, Terms, session_id
from protocol.task import STOP_GRACE_S, Task, task_id
from protocol.wallet import Approval, Policy, wallet_domain

RELAY_S = 3600
"""How long the owner's word in `create` and `close_task` stays good: longer than any chain that works takes."""
POLL_S = 1.0


class Withdrawn(NamedTuple):
    """What a withdrawal took from each place, in micro-units."""

    escrow: int
    tasks: int
    address: int


class Owner:
    """One owner's key, one node, one deployment."""

    def __init__(self, rpc_url: str, deployment: Deployment, secret: bytes, timeout_s: float, finality_depth: int | None) -> None:
        self._client = ChainClient(rpc_url, deployment, finality_depth=finality_depth)
        self._deployment, self._timeout_s, self._signer = deployment, timeout_s, Signer(secret)
        self._sender = TransactionSigner(self._client, secret)
        self._calls, self.views = Wallets(deployment), WalletViews(self._client)

    def __enter__(self) -> Self:
        self._client.check()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    @property
    def address(self) -> bytes:
        return self._signer.address

    def wallet_of(self, device: bytes) -> bytes:
        return self.views.address(device, self.address)

    def create(self, device: bytes, policy: Policy) -> bytes:
        """Make the wallet with its first policy, in one transaction. The same again changes nothing; another policy is set."""
        wallet = self.wallet_of(device)
        state = self.views.state(wallet)
        if state is not None and state.owner_nonce:
            if self.views.policy(wallet) != policy:
                self._send(self._calls.set_policy(wallet, policy))
            return wallet
        first = self._calls.set_policy(wallet, policy)
        order = owner_order(first, 0, int(time.time()) + RELAY_S)
        signature = self._signer.sign(digest(wallet_domain(self._deployment.chain_id, wallet), order))
        self._send(self._calls.create_and_call(device, self.address, first, order, signature))
        return wallet

    def fund(self, wallet: bytes, amount_micro: int) -> None:
        """Pay the owner's own tokens into the wallet's free balance, whether the wallet exists yet or not."""
        calls, escrow = self._client.calls, self._deployment.escrow
        held = self._client.token_micro(self.address)
        if held < amount_micro:
            raise Permanent(f"0x{self.address.hex()} holds {held} micro-units of the settlement token, fewer than {amount_micro}")
        before = [] if self._client.allowance_micro(self.address, escrow) >= amount_micro else [calls.approve(escrow, amount_micro)]
        self._send(*before, calls.deposit_for(wallet, amount_micro))

    def set_policy(self, wallet: bytes, policy: Policy) -> None:
        self._existing(wallet)
        self._send(self._calls.set_policy(wallet, policy))

    def freeze(self, wallet: bytes) -> None:
        """Stop all new money. What is locked stays as agreed."""
        self._existing(wallet)
        self._send(self._calls.freeze(wallet))

    def unfreeze(self, wallet: bytes) -> None:
        self._existing(wallet)
        self._send(self._calls.unfreeze(wallet))

    def withdraw(self, wallet: bytes, to: bytes, amount_micro: int | None) -> Withdrawn:
        """Pay `amount_micro` of the escrow's free balance to `to`, or all that is not locked, wherever it lies."""
        state = self._existing(wallet)
        if amount_micro is not None:
            if amount_micro > state.free_micro:
                raise Permanent(
                    f"the wallet's free balance is {state.free_micro} micro-units, less than {amount_micro}; "
                    "what is locked in sessions comes back when they close (python -m wallet close)"
                )
            taken = Withdrawn(amount_micro, 0, 0)
        else:
            taken = Withdrawn(state.free_micro, state.task_free_micro, state.token_micro)
        if not any(taken):
            raise Permanent("there is nothing to withdraw: the wallet holds no free money (locked money comes back when sessions close)")
        calls: list[Call] = []
        calls += [self._calls.withdraw(wallet, to, taken.escrow)] if taken.escrow else []
        calls += [self._calls.withdraw_from_tasks(wallet, to, taken.tasks)] if taken.tasks else []
        calls += [self._calls.withdraw_tokens(wallet, to, taken.address)] if taken.address else []
        self._send(*calls)
        return taken

    def close(self, terms: Terms, say: Callable[[str], None]) -> int:
        """Ask to close one session of a wallet, wait the agreed delay, close it. Returns what came back, in micro-units.

        Can be run again after an interruption: it goes on where the chain stands.
        """
        session = session_id(terms, self._deployment.chain_id, self._deployment.escrow)
        state = self._client.session(terms)
        if not state.opened_at_s:
            raise Permanent(f"session 0x{session.hex()} was never opened on this chain; are these its terms?")
        if state.closed:
            return state.lock_micro - state.claimed_micro
        if not state.close_requested_at_s:
            self._existing(terms.payer)
            self._send(self._calls.request_close(terms))
            say(f"asked to close; the payee has {terms.close_delay_s} s and {terms.close_delay_blocks} blocks to claim")
        self._wait_until_due(terms, say)
        if not self._client.session(terms).closed:  # the payee may have closed it at once
            self._send(self._client.calls.close(terms))
        state = self._client.session(terms)
        return state.lock_micro - state.claimed_micro

    def _wait_until_due(self, terms: Terms, say: Callable[[str], None]) -> None:
        told = -1
        while True:
            state, head = self._client.session(terms), self._client.head()
            seconds = state.close_requested_at_s + terms.close_delay_s - head.time_s
            blocks = state.close_requested_block + terms.close_delay_blocks - head.number
            if state.closed or (seconds <= 0 and blocks <= 0):
                return
            if head.number // 5 != told:
                told = head.number // 5
                say(f"closes in {max(0, seconds)} s and {max(0, blocks)} blocks")
            time.sleep(POLL_S)

    def close_task(self, task: Task, *, early: bool, keep: bool, say: Callable[[str], None]) -> int:
        """Close one task of a wallet once its end and grace have passed (`early`: ask it to end now), and fetch what tasks gave back:
        to the owner, or with `keep` into the wallet's free balance. Returns what the task returned, in micro-units.

        Can be run again after an interruption: it goes on where the chain stands.
        """
        wallet, tasks, calls = task.requester, TaskViews(self._client), TaskCalls(self._deployment)
        self._existing(wallet)
        state = tasks.state(task)
        if not state.opened_at_s:
            identity = task_id(task, self._deployment.chain_id, self._deployment.address_of(TASK_ESCROW))
            raise Permanent(f"task 0x{identity.hex()} was never opened on this chain; are these its terms?")
        if early and not state.closed:
            self._end_task(task, calls, state.ends_at_s, say)
        self._wait_for_task(task, tasks, say)
        if not tasks.state(task).closed:  # the node may have given up the rest
            self._send(calls.close(task))
        free_micro = tasks.free_micro(wallet)
        if free_micro:
            self._send(self._calls.return_from_tasks(wallet) if keep else self._calls.withdraw_from_tasks(wallet, self.address, free_micro))
            now = "free in the wallet again" if keep else f"sent to 0x{self.address.hex()}"
            say(f"{free_micro} micro-units that tasks gave back: {now}")
        else:
            say("nothing that tasks gave back is left to fetch")
        return task.price_micro - tasks.state(task).paid_micro

    def _end_task(self, task: Task, calls: TaskCalls, ends_at_s: int, say: Callable[[str], None]) -> None:
        """The owner's word, through the wallet (ERC-1271), that the task is to end now: its requester's key is in the device."""
        now_s = self._client.head().time_s
        if now_s + STOP_GRACE_S >= ends_at_s:  # also when it was asked before
            say(f"the task ends at {ends_at_s} at the latest: nothing is gained by asking")
            return
        chain_id, place = self._deployment.chain_id, self._deployment.address_of(TASK_ESCROW)
        order = RequestClose(task_id(task, chain_id, place), now_s + RELAY_S)
        approval = Approval(digest(money_domain(chain_id, place), order))
        signature = self._signer.sign(digest(wallet_domain(chain_id, task.requester), approval))
        self._send(calls.request_close_by_signature(task, order, signature))
        say(f"asked to end; what is done within {STOP_GRACE_S} s still counts")

    def _wait_for_task(self, task: Task, tasks: TaskViews, say: Callable[[str], None]) -> None:
        told = -1
        while not (state := tasks.state(task)).closed:
            head = self._client.head()
            seconds = state.ends_at_s + task.proof_grace_s - head.time_s
            if seconds <= 0:
                return
            if head.number // 5 != told:
                told = head.number // 5
                say(f"closes in {seconds} s: it ends at {state.ends_at_s}, and proofs are taken {task.proof_grace_s} s longer")
            time.sleep(POLL_S)

    def _existing(self, wallet: bytes) -> WalletState:
        state = self.views.state(wallet)
        if state is None:
            raise Permanent(f"there is no wallet at 0x{wallet.hex()} yet; make it with: python -m wallet create")
        if state.owner != self.address:
            raise Permanent(f"the wallet belongs to 0x{state.owner.hex()}; this key is 0x{self.address.hex()}")
        return state

    def _send(self, *calls: Call) -> None:
        done: Sequence[object] = send(self._client, self._sender, calls, self._timeout_s)
        assert len(done) == len(calls)
