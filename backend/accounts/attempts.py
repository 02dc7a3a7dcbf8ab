"""How often a log-in may be tried. Attempts are counted before a password is looked at, in a transaction of their own, so that many
requests at once cannot slip past the count, and a restart does not forget it."""

from __future__ import annotations

import hashlib
import ipaddress

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from ..errors import TooMany
from ..models import LogInAttempt
from ..models.base import HOUSE
from ..store.db import Database, is_postgres

WINDOW_S = 900
MAX_PAIR = 5
"""Wrong passwords for one name from one address: a person mistypes twice, a program guesses."""
MAX_ADDRESS = 30
"""Wrong passwords from one address: a whole office behind one router in the morning."""
MAX_NAME = 50
"""Wrong passwords for one name from anywhere: far below what guessing takes, far above what lets a stranger lock a person out."""

_LOCK = 0x77705F6C6F67  # "wp_log"


def network(address: str) -> str:
    """Whose address this is: of IPv6 the /64, which one subscriber has whole."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)


def attempt(database: Database, name: str, address: str, now_s: int) -> int:
    """Count one attempt; its id, for `forgive`. Raises `TooMany` without counting where there were too many already."""
    subject = hashlib.sha256(name.encode()).digest()
    address = network(address)
    with database.writing() as db:
        if is_postgres(db):  # SQLite has one writer; here attempts stand in one line, so that none counts before another is written
            db.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        db.execute(delete(LogInAttempt).where(LogInAttempt.at_s <= now_s - WINDOW_S))
        by_name, by_address = LogInAttempt.subject == subject, LogInAttempt.address == address
        for limit, where in ((MAX_PAIR, by_name & by_address), (MAX_ADDRESS, by_address), (MAX_NAME, by_name)):
            if int(db.scalar(select(func.count()).select_from(LogInAttempt).where(where)) or 0) >= limit:
                raise TooMany(f"too many log-ins failed; wait {WINDOW_S // 60} minutes and try again", "name")
        row = LogInAttempt(operator_id=HOUSE, subject=subject, address=address, at_s=now_s)
        db.add(row)
        db.flush()
        return row.id


def forgive(db: Session, attempt_id: int) -> None:
    """The attempt succeeded: it does not count."""
    db.execute(delete(LogInAttempt).where(LogInAttempt.id == attempt_id))


def forgive_all(db: Session, name: str, address: str) -> None:
    """The attempts of this name from this address came to a good end: they do not count."""
    subject = hashlib.sha256(name.encode()).digest()
    db.execute(delete(LogInAttempt).where(LogInAttempt.subject == subject, LogInAttempt.address == network(address)))
