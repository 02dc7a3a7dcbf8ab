"""The OpenAPI document: committed as docs/openapi.json, made by `python -m backend openapi`, and proven equal by a test.

What FastAPI cannot know is added here in one place: how callers prove who they are, and which problem documents (RFC 9457) each call may
answer. A status that is not in the document is never answered; the fuzzing test holds the service to it.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from ..accounts.depends import require_caller
from ..errors import BadRequest, Conflict, Forbidden, NotFound, TooMany, Unauthorized, Unavailable
from .answers import Problem
from .depends import require_agent, require_bill_reader, require_reader, require_task_reader

PROBLEM = "application/problem+json"
SCHEMES: dict[str, Any] = {
    "token": {"type": "http", "scheme": "bearer", "description": "an account's API token, or the operator token's file"},
    "login": {
        "type": "apiKey", "in": "cookie", "name": "wattproof_login",
        "description": "a browser that is logged in; requests that change something carry X-CSRF-Token too",
    },
    "session": {"type": "http", "scheme": "bearer", "description": "the accessToken of a quote or task: opens that one to its payer"},
    "agent": {
        "type": "apiKey", "in": "header", "name": "Authorization",
        "description": 'Wattproof <base64url of {"device","atS","nonce","signature"}>: an AgentHello by the meter key',
    },
}  # fmt: skip
EVERYWHERE: dict[int, str] = {
    400: BadRequest.title, 404: NotFound.title, 409: Conflict.title, 413: "The body is larger than this call takes", 422: BadRequest.title,
    429: TooMany.title, 503: Unavailable.title,
}  # fmt: skip
PROVEN: dict[int, str] = {401: Unauthorized.title, 403: Forbidden.title}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application whose routers are in place."""
    made = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, separate_input_output_schemas=False
    )  # fmt: skip
    schemas = made["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    made["components"]["securitySchemes"] = SCHEMES
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                _complete(made["paths"][route.path_format][method.lower()], route)
    return made


def text(app: FastAPI) -> str:
    """The document as committed: sorted, indented, with a newline at its end."""
    return json.dumps(document(app), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def install(app: FastAPI) -> None:
    """Serve this document instead of FastAPI's own."""

    def made() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app)
        return app.openapi_schema

    app.openapi = made  # type: ignore[method-assign]


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    ways = _ways_in(route)
    problems = dict(EVERYWHERE)
    if ways:
        problems |= PROVEN
        operation["security"] = [{way: []} for way in ways]
    answers = operation["responses"]
    for status, title in sorted(problems.items()):
        if str(status) not in answers or status == 422:
            schema = {"$ref": "#/components/schemas/Problem"}
            answers[str(status)] = {"description": title, "content": {PROBLEM: {"schema": schema}}}


def _ways_in(route: APIRoute) -> list[str]:
    """How callers of a route prove who they are."""
    found: set[str] = set()
    waiting = [route.dependant]
    while waiting:
        dependant = waiting.pop()
        waiting += dependant.dependencies
        if dependant.call is require_caller:
            found |= {"token", "login"}
        elif dependant.call in (require_reader, require_bill_reader, require_task_reader):
            found |= {"token", "login", "session"}
        elif dependant.call is require_agent:
            found.add("agent")
    return sorted(found, key=list(SCHEMES).index)
