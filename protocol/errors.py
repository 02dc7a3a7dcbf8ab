"""The one error tree of `protocol`.

A parser of foreign bytes raises `Malformed` and nothing else, whatever the bytes. Each message says what was wrong,
where, and what to do about it.
"""


class ProtocolError(Exception):
    """Anything this package refuses."""


class _Located(ProtocolError):
    def __init__(self, what: str, where: str = "") -> None:
        self.what = what
        self.where = where
        super().__init__(f"{where}: {what}" if where else what)


class Malformed(_Located):
    """Foreign bytes that are not what they claim to be. `where` names the field or position."""


class BadSignature(ProtocolError):
    """A signature that is malformed, not canonical (high s), or made by another key."""


class PricingError(_Located):
    """A record that cannot be priced. `where` names the record. The pricer stays as it was before."""


class RegisterFell(PricingError):
    """A register below the one before it, with neither a rollover nor a hand-over to explain it."""
