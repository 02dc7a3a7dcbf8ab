"""The agent's one error tree. Each message says what was wrong, where, and what to do; `transient` says whether
trying again can help.
"""

from __future__ import annotations


class AgentError(Exception):
    """Anything the agent cannot or will not do."""

    transient = False


class ConfigError(AgentError):
    """A setting or file of the installation that is not as it must be."""


class KeystoreError(AgentError):
    """A key file or passphrase that cannot be used. Never carries a secret."""


class LogDamaged(AgentError):
    """Bytes inside the log that are not what was written there (a torn tail is not damage: it is cut off with a
    word).
    """


class LogFailed(AgentError):
    """The disk refused to write or sync for another reason than being full; nothing after it can be trusted to be
    durable.
    """


class DiskFull(AgentError):
    """No space left. Nothing was written; what was written before is intact."""

    transient = True


class Refused(AgentError):
    """A grant, command, payment or key change that the agent does not obey. `code` is one short word for logs and
    counters.
    """

    def __init__(self, code: str, what: str) -> None:
        self.code = code
        super().__init__(what)


class ServiceFault(AgentError):
    """The service could not be reached, or answered what it must not."""

    transient = True


class ServiceRefused(ServiceFault):
    """The service will never take this request."""

    transient = False
