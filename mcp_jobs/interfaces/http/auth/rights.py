"""Who may use which route and which command of the WebSocket: one table.

A route without a row is refused, so that one which is forgotten here is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.routing import compile_path

from mcp_jobs.interfaces.http.auth.gate import principal_of, refuse
from mcp_jobs.interfaces.http.auth.tokens import SCOPES
from mcp_jobs.interfaces.http.problem_details import Problem
from mcp_jobs.interfaces.mcp.access import OF_MCP, no_scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

Row = frozenset[str] | None
"""The scopes of which one is needed; None: no token is needed."""

MCP_PATH: Final = "/mcp"
SOCKET_PATH: Final = "/ws"
OPEN: Final = None

_READ: Final = frozenset({"read"})
_START: Final = frozenset({"start"})
_CANCEL: Final = frozenset({"cancel"})
_METRICS: Final = frozenset({"metrics"})
_ANY: Final = frozenset(SCOPES)

ROUTES: Final[Mapping[tuple[str, str], Row]] = {
    ("POST", "/jobs"): _START,
    ("GET", "/jobs"): _READ,
    ("GET", "/jobs/{job_id}"): _READ,
    ("POST", "/jobs/{job_id}/cancel"): _CANCEL,
    ("POST", "/jobs/{job_id}/retry"): _START,
    ("GET", "/jobs/{job_id}/output"): _READ,
    ("GET", "/jobs/{job_id}/output/raw"): _READ,
    ("GET", "/jobs/{job_id}/deliveries"): _READ,
    ("GET", "/jobs/{job_id}/events"): _READ,
    ("GET", "/jobs/{job_id}/stream"): _READ,
    ("GET", "/events"): _READ,
    ("GET", "/job-types"): _READ,
    # Those of others need `admin` besides: the handlers look.
    ("GET", "/schedules"): _READ,
    ("POST", "/schedules"): _START,
    ("GET", "/schedules/{schedule}"): _READ,
    ("DELETE", "/schedules/{schedule}"): _START,
    ("POST", "/schedules/{schedule}/pause"): _START,
    ("POST", "/schedules/{schedule}/resume"): _START,
    ("POST", "/schedules/{schedule}/run"): _START,
    ("GET", "/metrics"): _METRICS,
    ("GET", "/openapi.json"): _ANY,
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    # What each message of MCP needs is in `interfaces.mcp.access`.
    ("POST", MCP_PATH): OF_MCP,
    ("GET", MCP_PATH): _READ,
    ("DELETE", MCP_PATH): OF_MCP,
    ("WEBSOCKET", SOCKET_PATH): _READ,
}

COMMANDS: Final[Mapping[str, str]] = {"subscribe": "read", "unsubscribe": "read"}
"""What each command over the WebSocket needs."""


class Rights:
    """The table, as one application uses it."""

    def __init__(self, more: Mapping[tuple[str, str], Row]) -> None:
        self._rows: dict[str, dict[str, Row]] = {}
        for (method, path), row in {**ROUTES, **more}.items():
            self._rows.setdefault(path, {})[method] = row
        self._patterns = [(compile_path(path)[0], rows) for path, rows in self._rows.items()]

    @property
    def open_paths(self) -> frozenset[str]:
        """What answers without a token."""
        return frozenset(
            path for path, rows in self._rows.items() if all(row is OPEN for row in rows.values())
        )

    def of(self, path: str) -> Mapping[str, Row]:
        """Return the rows of a path by method; nothing for a path that is not in the table."""
        for pattern, rows in self._patterns:
            if pattern.match(path):
                return rows
        return {}


class RightsGate:
    """Lets requests through whose token has what their row needs."""

    def __init__(self, app: ASGIApp, rights: Rights) -> None:
        self._app = app
        self._rights = rights

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        problem = self._problem(scope)
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await refuse(problem, scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        rows = self._rights.of(scope["path"])
        if not rows:
            return Problem(404, "not_found", "There is nothing at this path.")
        method = _method(scope)
        if method not in rows:
            allowed = {"Allow": ", ".join(sorted(rows))}
            return Problem(405, "method_not_allowed", "Method Not Allowed", headers=allowed)
        needed = rows[method]
        if needed is OPEN:
            return None
        scopes = principal_of(scope).scopes
        if needed & scopes:
            return None
        wanted = " or ".join(repr(scope) for scope in SCOPES if scope in needed)
        return Problem(403, "forbidden", no_scope(wanted, scopes))


def _method(scope: Scope) -> Any:
    if scope["type"] == "websocket":
        return "WEBSOCKET"
    # A head is what a GET would say of itself.
    return "GET" if scope["method"] == "HEAD" else scope["method"]
