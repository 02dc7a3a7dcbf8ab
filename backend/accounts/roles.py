"""Roles and what each may do. A route states the permission it takes; nothing else decides."""

from __future__ import annotations

from enum import StrEnum


class Permission(StrEnum):
    READ = "read"  # points, supply, sessions, anchors, alarms: how things stand
    AUDIT = "audit"  # books, bills, bundles, exports, the record of acts: whose money, and who did what
    ACT = "act"  # enrol points, command supply, acknowledge alarms
    ADMINISTER = "administer"  # accounts of the same operator; of the installation: operators too


class Role(StrEnum):
    ADMIN = "admin"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    READ_ONLY = "read-only"


GRANTS: dict[Role, frozenset[Permission]] = {
    Role.ADMIN: frozenset(Permission),
    Role.OPERATOR: frozenset({Permission.READ, Permission.AUDIT, Permission.ACT}),
    Role.AUDITOR: frozenset({Permission.READ, Permission.AUDIT}),
    Role.READ_ONLY: frozenset({Permission.READ}),
}
