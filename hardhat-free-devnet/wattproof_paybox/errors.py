"""What a call of the API can be refused for, in the provider's own form."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """An answer `{"error": {"type", "code", "message", "param"}}` with its HTTP status."""

    def __init__(self, status: int, code: str, message: str, param: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.document: dict[str, Any] = {
            "error": {"type": "invalid_request_error" if status < 500 else "api_error", "code": code, "message": message, "param": param}
        }
