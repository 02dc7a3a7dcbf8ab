"""What the chain says of tasks: their state, the balances for them, and how much of a meter's energy has been sold."""

from __future__ import annotations

from typing import Any, NamedTuple

from chain.abi import interface
from chain.client import ChainClient
from chain.task_calls import CONTRACT
from protocol.task import Task


class TaskState(NamedTuple):
    """A task on the chain; all zero if it was never opened. Money in micro-units, energy in milliwatt-hours, time in UTC seconds."""

    paid_micro: int
    sold_milliwatt_hours: int
    opened_at_s: int
    ends_at_s: int
    closed: bool


class TaskViews:
    """Reads the task escrow through a node. `at`: the hash of a block, None for the newest."""

    def __init__(self, client: ChainClient) -> None:
        self._client = client

    def state(self, task: Task, at: bytes | None = None) -> TaskState:
        return TaskState(*self._view("taskOf", task, at=at)[0])

    def sold_through(self, device: bytes, channel: int, meter_key: bytes, meter_hash: bytes, at: bytes | None = None) -> int:
        """The import register up to which the meter's energy has been sold; 0: none yet."""
        return int(self._view("soldThrough", device, channel, meter_key, meter_hash, at=at)[0])

    def free_micro(self, account: bytes, at: bytes | None = None) -> int:
        """An account's balance in the task escrow that is in no task."""
        return int(self._view("freeMicroOf", account, at=at)[0])

    def withdraw_nonce(self, account: bytes, at: bytes | None = None) -> int:
        """The nonce the account's next `Withdraw` must carry."""
        return int(self._view("nonceOf", account, at=at)[0])

    def _view(self, function: str, *arguments: object, at: bytes | None) -> tuple[Any, ...]:
        coded = interface(CONTRACT).functions[function]
        return coded.decode(self._client.call(self._client.deployment.address_of(CONTRACT), coded.encode(*arguments), at=at))
