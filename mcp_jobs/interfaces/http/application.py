"""Wire the HTTP application together: guards outside, then the token, then the routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.websockets import WebSocket, WebSocketClose

from mcp_jobs import __version__
from mcp_jobs.interfaces.http import problem_details
from mcp_jobs.interfaces.http.auth.gate import AuthGate
from mcp_jobs.interfaces.http.auth.guards import BodyGuard, HostGuard, names_of
from mcp_jobs.interfaces.http.auth.rights import MCP_PATH, OPEN, SOCKET_PATH, Rights, RightsGate
from mcp_jobs.interfaces.http.auth.tokens import OF_HOME, SCOPES
from mcp_jobs.interfaces.http.live.websocket import Socket
from mcp_jobs.interfaces.http.metrics import Meter
from mcp_jobs.interfaces.http.opened import OpenedGate, stay_of
from mcp_jobs.interfaces.http.routes import bodies, event_streams, job_routes, schedule_routes
from mcp_jobs.interfaces.http.sessions import McpGate

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from mcp_jobs.interfaces.http.routes.state import Parts
    from mcp_jobs.interfaces.mcp.oidc import OidcVerifier

_DESCRIPTION: Final = """\
Background jobs that survive timeouts, restarts and crashes. Every request needs a bearer token; \
`mcp-jobs token` prints the one of the home. A job of another owner looks like one that does not \
exist. Besides these routes there are MCP over Streamable HTTP at /mcp and a WebSocket at /ws."""


def build_app(parts: Parts, mcp: ASGIApp, *, verifier: OidcVerifier | None = None) -> ASGIApp:
    """Return the whole application, to be served as it is."""
    app = FastAPI(
        title="mcp-jobs",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=None,
    )
    problem_details.install(app)
    app.state.parts = parts
    gate = McpGate(mcp)
    parts.opened.watchers.append(gate.look)
    routers = (job_routes.jobs, schedule_routes.schedules, event_streams.live, event_streams.health)
    for router in routers:
        app.include_router(router)
    app.state.routes = [route for router in routers for route in router.routes]
    app.router.routes.append(Route(MCP_PATH, gate, include_in_schema=False))
    app.router.add_websocket_route(SOCKET_PATH, _websocket(parts))
    _describe_problems(app)
    rights = Rights({})
    challenge = 'Bearer realm="mcp-jobs"'
    if verifier is not None:
        routes_of_issuer = verifier.metadata_routes([s for s in SCOPES if s not in OF_HOME])
        app.router.routes.extend(routes_of_issuer)
        rights = Rights(
            {(method, r.path): OPEN for r in routes_of_issuer for method in r.methods or ()}
        )
        challenge += f', resource_metadata="{verifier.metadata_url}"'
    return _guarded(app, parts, rights, challenge)


def _websocket(parts: Parts) -> Any:
    async def serve(websocket: WebSocket) -> None:
        await Socket(websocket, live=parts.live, stay=stay_of(websocket.scope)).serve()

    return serve


def _guarded(app: ASGIApp, parts: Parts, rights: Rights, challenge: str) -> ASGIApp:
    settings = parts.settings
    app = RightsGate(app, rights)
    # Outside of the body, which takes its time too.
    app = BodyGuard(app, limit_bytes=settings.max_body_bytes)
    app = OpenedGate(app, parts.opened)
    app = AuthGate(
        app,
        authenticator=parts.authenticator,
        open_paths=rights.open_paths,
        requests_per_second=settings.requests_per_second,
        challenge=challenge,
    )
    if settings.allowed_origins:
        # Outside of the token: a browser asks first, without one.
        app = CORSMiddleware(
            app,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["location", "mcp-session-id", "www-authenticate", "retry-after"],
        )
    app = HostGuard(
        app,
        hosts=names_of(settings.host, settings.allowed_hosts),
        origins=settings.allowed_origins,
    )
    return Front(Meter(parts.farewell.around(app), parts.metrics))


class Front:
    """The outermost part: only requests and WebSockets pass."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket" and scope["path"] != SOCKET_PATH:
            await WebSocketClose(1008, "There is a WebSocket at /ws only.")(scope, receive, send)
        elif scope["type"] in ("http", "websocket"):
            await self._app(scope, receive, send)


def _describe_problems(app: FastAPI) -> None:
    """Put the problem details into the schema, and take out what FastAPI says of its own errors."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = made()
            schemas = schema["components"]["schemas"]
            schemas["ProblemBody"] = bodies.ProblemBody.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for path in schema["paths"].values():
                for operation in path.values():
                    told = operation["responses"]
                    if "application/json" in told.get("422", {}).get("content", {}):
                        del told["422"]
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
