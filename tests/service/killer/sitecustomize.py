"""Put in front of PYTHONPATH by the kill tests: ends the process with SIGKILL at a named durable step. The product knows nothing of it.

WATTPROOF_KILL is `before:<table>` or `after:<table>`: just before, or just after, the first commit of a transaction that wrote that table.
"""

import os
import re
import signal

_spec = os.environ.get("WATTPROOF_KILL")
if _spec:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import Pool

    _when, _, _table = _spec.partition(":")
    _writes = re.compile(rf"\s*(INSERT INTO|UPDATE|DELETE FROM) {_table}\b")
    _touched: set[int] = set()
    _committed: set[int] = set()

    def _die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @event.listens_for(Engine, "before_cursor_execute")
    def _execute(connection, cursor, statement, parameters, context, executemany):  # type: ignore[no-untyped-def]
        if _writes.match(statement):
            _touched.add(id(connection.connection.dbapi_connection))

    @event.listens_for(Engine, "commit")
    def _commit(connection):  # type: ignore[no-untyped-def]
        place = id(connection.connection.dbapi_connection)
        if place in _touched:
            if _when == "before":
                _die()
            _committed.add(place)

    @event.listens_for(Engine, "rollback")
    def _rollback(connection):  # type: ignore[no-untyped-def]
        _touched.discard(id(connection.connection.dbapi_connection))

    @event.listens_for(Pool, "checkin")
    def _checkin(connection, record):  # type: ignore[no-untyped-def]
        if id(connection) in _committed:
            _die()
