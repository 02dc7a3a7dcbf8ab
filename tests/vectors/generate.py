"""Write the golden vectors that Python makes: `python -m tests.vectors.generate`. merkle.json and reference_answers.json are made by
tests/reference/answer.mjs, which shares no code with us.

The files are the same byte for byte whenever and wherever they are made. Vectors of a released version are never edited.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import frames, offers, pricing, structs, tasks, wallets

FOLDER = Path(__file__).parent


def files() -> dict[str, bytes]:
    """Name → content of every file."""
    documents: dict[str, list[dict[str, Any]]] = {
        "structs.json": structs.document(), "frames.json": frames.frames(), "logs.json": frames.logs(), "epochs.json": frames.epochs(),
        "pricing.json": pricing.document(), "offers.json": offers.entries(), "wallets.json": wallets.document(),
        "tasks.json": tasks.document(),
    }  # fmt: skip
    return {name: rows(entries) for name, entries in documents.items()}


def rows(entries: list[dict[str, Any]]) -> bytes:
    """`{"vectors": [...]}` with one entry a line, so that a difference shows which entry changed."""
    lines = ",\n".join(json.dumps(entry, separators=(",", ":"), ensure_ascii=False) for entry in entries)
    return f'{{"vectors":[\n{lines}\n]}}\n'.encode()


if __name__ == "__main__":
    for name, content in files().items():
        (FOLDER / name).write_bytes(content)
        print(f"{name}: {len(content):,} bytes")
