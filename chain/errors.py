"""The one error tree of `chain`. Whether trying again can help is a property of the type: `Transient` or `Permanent`."""

from __future__ import annotations

from typing import Any


class ChainError(Exception):
    """Anything that goes wrong between us and a chain. The message says what, where and what to do."""


class Transient(ChainError):
    """May well succeed when tried again: the node is away, busy, or the chain has just moved."""


class Permanent(ChainError):
    """Will fail again in the same way until somebody changes something."""


class Unreachable(Transient):
    """The node could not be reached, or did not answer in time or in JSON-RPC."""


class Busy(Transient):
    """The node is there but cannot answer this now: overloaded, or without the state that was asked for."""


class BadAnswer(Transient):
    """The node answered something that cannot be true or read. Another node, or the same one later, may do better."""


class ChainMoved(Transient):
    """The chain reorganised while it was read; read again."""


class RpcRefused(Permanent):
    """The node refused a request. `code` and `reason` are its own words."""

    def __init__(self, method: str, code: int, reason: str) -> None:
        self.method = method
        self.code = code
        self.reason = reason
        super().__init__(f"{method}: the node refused it: {reason} (code {code})")


class Reverted(Permanent):
    """A contract refused the call. `name` is its error (`HeadMoved`, …; empty if unknown), `arguments` what it carries."""

    def __init__(self, name: str, arguments: dict[str, Any], reason: str) -> None:
        self.name = name
        self.arguments = arguments
        self.reason = reason
        shown = ", ".join(f"{key}={'0x' + value.hex() if isinstance(value, bytes) else value}" for key, value in arguments.items())
        super().__init__(f"the contract refused: {name}({shown})" if name else f"the contract refused: {reason or 'no reason given'}")


class WrongChain(Permanent):
    """The node serves another chain than the deployment file names."""


class CodeDiffers(Permanent):
    """What stands at an address is not the code of our artifact."""


class ArtifactError(Permanent):
    """An artifact is missing, damaged, or not what the manifest says."""


class DeploymentError(Permanent):
    """A deployment file is missing or damaged, or a deployment cannot go on."""


class ReorganisedTooDeep(Permanent):
    """The chain gave up blocks that were called final; the books must be rebuilt from the chain."""


class FeeTooHigh(Permanent):
    """The chain asks more for gas than the configured cap allows."""
