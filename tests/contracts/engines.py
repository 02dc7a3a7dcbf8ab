"""An EVM in process, one call at a time, no blocks and no gas price: for very many calls.

pyrevm where it is installed (tens of thousands of calls a second), py-evm otherwise (a few hundred).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Protocol


class Log(NamedTuple):
    address: bytes
    topics: list[bytes]
    data: bytes


class Outcome(NamedTuple):
    """What a call came to. `output` of a call that reverted is its error."""

    success: bool
    output: bytes
    logs: list[Log]


class Engine(Protocol):
    name: str
    chain_id: int

    def deploy(self, code: bytes) -> bytes:
        """The address of a contract made of `code` with its constructor's arguments."""

    def at(self, time_s: int, block: int) -> None:
        """The block that all calls see from now on."""

    def call(self, sender: bytes, to: bytes, data: bytes) -> Outcome:
        """A transaction without its costs."""


DEPLOYER = b"\xde" * 20


def as_text(address: bytes) -> str:
    return "0x" + address.hex()


class PyrevmEngine:
    name = "pyrevm"
    chain_id = 1

    def __init__(self) -> None:
        import pyrevm

        self._pyrevm = pyrevm
        self._evm = pyrevm.EVM(spec_id="MERGE")

    def deploy(self, code: bytes) -> bytes:
        return bytes.fromhex(self._evm.deploy(as_text(DEPLOYER), code)[2:])

    def at(self, time_s: int, block: int) -> None:
        self._evm.set_block_env(self._pyrevm.BlockEnv(number=block, timestamp=time_s))

    def call(self, sender: bytes, to: bytes, data: bytes) -> Outcome:
        try:
            output = self._evm.message_call(as_text(sender), as_text(to), calldata=data)
        except RuntimeError as error:
            found = re.search(r"output: 0x([0-9a-f]*)", str(error))
            return Outcome(False, bytes.fromhex(found.group(1)) if found else b"", [])
        assert self._evm.result is not None
        logs = [
            Log(bytes.fromhex(log.address[2:]), [bytes.fromhex(topic[2:]) for topic in log.topics], bytes(log.data[1]))
            for log in self._evm.result.logs
        ]
        return Outcome(True, bytes(output), logs)


class PyEvmEngine:
    name = "py-evm"

    def __init__(self) -> None:
        from eth_tester import PyEVMBackend

        chain = PyEVMBackend().chain
        self.chain_id: int = chain.chain_id
        self._state: Any = chain.get_vm().state
        self._deployed = 0

    def deploy(self, code: bytes) -> bytes:
        self._deployed += 1
        address = b"\xc0" * 19 + bytes((self._deployed,))
        outcome = self._run(DEPLOYER, address, b"", code, create=True)
        assert outcome.success, "a contract was not deployed"
        return address

    def at(self, time_s: int, block: int) -> None:
        context = self._state.execution_context
        context._timestamp, context._block_number = time_s, block

    def call(self, sender: bytes, to: bytes, data: bytes) -> Outcome:
        return self._run(sender, to, data, self._state.get_code(to), create=False)

    def _run(self, sender: bytes, to: bytes, data: bytes, code: bytes, create: bool) -> Outcome:
        from eth.vm.message import Message
        from eth_typing import Address

        place: Any = to
        storage: Any = to if create else None
        message = Message(
            gas=30_000_000,
            to=Address(b"") if create else place,
            sender=Address(sender),
            value=0,
            data=data,
            code=code,
            create_address=storage,
        )
        context = self._state.get_transaction_context_class()(gas_price=0, origin=sender)
        kind = self._state.computation_class
        apply = kind.apply_create_message if create else kind.apply_message
        computation = apply(self._state, message, context)
        if computation.is_error:
            error = computation.error.args
            return Outcome(False, error[0] if error and isinstance(error[0], bytes) else b"", [])
        self._state.lock_changes()
        logs = [
            Log(address, [topic.to_bytes(32, "big") for topic in topics], data)
            for address, topics, data in computation.get_log_entries()
        ]
        return Outcome(True, computation.output, logs)


def best_engine() -> Engine:
    try:
        return PyrevmEngine()
    except ImportError:
        return PyEvmEngine()
