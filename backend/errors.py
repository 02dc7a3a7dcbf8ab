"""The service's one error tree. Each error carries its HTTP status and says what was wrong, where, and what to do.

`transient` says whether the same request may succeed later without being changed.
"""

from __future__ import annotations


class ServiceError(Exception):
    """Anything the service refuses. `where` names the field, header or row."""

    status = 500
    code = "internal"
    title = "The service failed"
    transient = False

    def __init__(self, detail: str, where: str = "") -> None:
        self.detail = detail
        self.where = where
        super().__init__(f"{where}: {detail}" if where else detail)


class BadRequest(ServiceError):
    status, code, title = 400, "malformed", "The request is not what this call takes"


class Unauthorized(ServiceError):
    status, code, title = 401, "unauthorized", "Who is calling is not proven"


class Forbidden(ServiceError):
    status, code, title = 403, "forbidden", "The caller may not do this"


class NotFound(ServiceError):
    status, code, title = 404, "not-found", "There is no such thing here"


class Conflict(ServiceError):
    status, code, title = 409, "conflict", "This contradicts what is already so"


class Refused(ServiceError):
    """Something signed that must not be taken, by a name that stays the same: a contract's error, or a rule's. Programs go by the name."""

    status, code, title = 409, "refused", "What was signed must not be taken"

    def __init__(self, name: str, detail: str, where: str = "") -> None:
        self.code = name
        super().__init__(detail, where)


class TooMany(ServiceError):
    status, code, title, transient = 429, "too-many", "Too many at once", True


class Unavailable(ServiceError):
    status, code, title, transient = 503, "unavailable", "Not possible at this moment", True


class Misconfigured(ServiceError):
    """The service cannot start: a setting, a file or a database is not as it must be."""

    code, title = "misconfigured", "The service cannot start"


class LedgerError(ServiceError):
    """A transfer that would break the books. Never caused by a caller: nothing of its transaction is kept."""

    code, title = "ledger", "The books refused a transfer"


class IllegalTransition(ServiceError):
    """A state machine was asked for a step it does not have."""

    status, code, title = 409, "illegal-transition", "This step does not follow the present state"


class LeaseLost(ServiceError):
    """Another process holds the lease of this loop now; what this one was doing is not kept."""

    status, code, title, transient = 503, "lease-lost", "Another process does this now", True
