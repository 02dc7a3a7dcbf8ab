"""The error tree of the programs on a device. Each message says what was wrong, where, and what to do; `transient` says whether trying
again can help.
"""

from __future__ import annotations


class OnsiteError(Exception):
    """Anything such a program cannot or will not do."""

    transient = False


class ConfigError(OnsiteError):
    """A setting or file of the installation that is not as it must be."""


class KeystoreError(OnsiteError):
    """A key file or passphrase that cannot be used. Never carries a secret."""


class LogDamaged(OnsiteError):
    """Bytes inside the log that are not what was written there (a torn tail is not damage: it is cut off with a
    word).
    """


class LogFailed(OnsiteError):
    """The disk refused to write or sync for another reason than being full; nothing after it can be trusted to be
    durable.
    """


class DiskFull(OnsiteError):
    """No space left. Nothing was written; what was written before is intact."""

    transient = True


class ServiceFault(OnsiteError):
    """The service could not be reached, or answered what it must not."""

    transient = True


class ServiceRefused(ServiceFault):
    """The service will never take this request. `code` is the last word of the problem's type; empty where it named none."""

    transient = False

    def __init__(self, what: str, code: str = "") -> None:
        self.code = code
        super().__init__(what)
