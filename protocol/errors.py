"""The one error tree of `protocol`.

A parser of foreign bytes raises `Malformed` and nothing else, whatever the bytes. Each message says what was wrong,
where, and what to do about it.
"""


class ProtocolError(Exception):
    """Anything this package refuses."""


class Malformed(ProtocolError):
    """Foreign bytes that are not what they claim to be. `where` names the field or position."""

    def __init__(self, what: str, where: str = "") -> None:
        self.what = what
        self.where = where
        super().__init__(f"{where}: {what}" if where else what)


class BadSignature(ProtocolError):
    """A signature that is malformed, not canonical (high s), or made by another key."""
