"""JSON as text for columns and answers. `canonical` is RFC 8785, for what is hashed; the rest is compact and keeps its order."""

from __future__ import annotations

from typing import Any

import orjson
import rfc8785


def dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def loads(text: str | bytes) -> Any:
    return orjson.loads(text)


def canonical(value: Any) -> str:
    return rfc8785.dumps(value).decode()
