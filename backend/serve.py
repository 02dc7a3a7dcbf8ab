"""`serve`: settings, service, uvicorn; stops cleanly on SIGTERM even while streams are open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import uvicorn

from . import app as application
from .context import Service
from .logs import configure
from .settings import load_settings
from .store.migrate import migrate, seed_operators

GRACEFUL_S = 5
"""How long open requests may take once the service stops; streams end by themselves (they watch the stop event)."""


class _Server(uvicorn.Server):
    """Tells the streams to end as soon as the signal comes: uvicorn would wait for them first."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._service.hub.stop()
        super().handle_exit(sig, frame)


def serve(config: Path) -> None:
    """Run until a signal. Raises `Misconfigured` if it cannot start."""
    settings = load_settings(config)
    configure(settings.log_format)
    service = Service.from_settings(settings)
    application.prepare(service)
    server = uvicorn.Config(
        application.build(service), host=settings.host, port=settings.port, log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=GRACEFUL_S,
    )  # fmt: skip
    _Server(server, service).run()


def migrate_only(config: Path) -> None:
    settings = load_settings(config)
    service = Service.from_settings(settings)
    service.db.lock_process()
    migrate(service.db)
    seed_operators(service.db, settings.operator_name, service.payee, service.now_s())
    service.db.close()
    print("the database is at this program's schema")
