"""Policy files: what the pay key may do, as JSON that people write and the buyer's agent reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from protocol.errors import Malformed
from protocol.wallet import Policy, parse_policy, policy_document

MAX_FILE_BYTES = 64 * 1024
"""A policy has a few hundred bytes and 45 more a provider."""


class FileRefused(Exception):
    """A file that cannot be read as what it should be: says which, where, what to do."""


def read_json(path: Path, what: str) -> Any:
    """A small JSON file. Raises `FileRefused`."""
    try:
        with path.open("rb") as source:
            raw = source.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror}; it should be {what}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise FileRefused(f"{path}: larger than {MAX_FILE_BYTES} bytes; this is not {what}")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise FileRefused(f"{path}: is not JSON; it should be {what}") from None


def read_policy(path: Path) -> Policy:
    """A policy file. Raises `FileRefused`."""
    try:
        return parse_policy(read_json(path, "a policy file (make one with: python -m wallet policy new)"))
    except Malformed as error:
        raise FileRefused(f"{path}: {error}") from None


def write_policy(path: Path, policy: Policy) -> None:
    """A new policy file; an existing one is not overwritten. Raises `FileRefused`."""
    try:
        with path.open("x", encoding="utf-8") as target:
            target.write(json.dumps(policy_document(policy), indent=1) + "\n")
    except FileExistsError:
        raise FileRefused(f"{path} exists already and is not overwritten; name another file") from None
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror}") from error
