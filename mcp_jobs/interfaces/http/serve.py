"""Serve everything over one port, in one process."""

from __future__ import annotations

import contextlib
import gc
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

import anyio
import uvicorn

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.vocabulary import REST
from mcp_jobs.execution import host
from mcp_jobs.interfaces.http.application import build_app
from mcp_jobs.interfaces.http.auth.gate import Authenticator
from mcp_jobs.interfaces.http.auth.rights import MCP_PATH
from mcp_jobs.interfaces.http.auth.tokens import TokenFile
from mcp_jobs.interfaces.http.farewell import Farewell
from mcp_jobs.interfaces.http.live.event_ids import Cursors
from mcp_jobs.interfaces.http.live.hub import GOING_DOWN, Hub
from mcp_jobs.interfaces.http.live.subscription import Live
from mcp_jobs.interfaces.http.metrics import Metrics
from mcp_jobs.interfaces.http.opened import SHARE, Opened
from mcp_jobs.interfaces.http.routes.state import Parts
from mcp_jobs.interfaces.http.wire_protocol import bounded
from mcp_jobs.interfaces.mcp.access import check_scope, owner_by_token
from mcp_jobs.interfaces.mcp.oidc import OidcVerifier
from mcp_jobs.interfaces.mcp.server import python_types
from mcp_jobs.interfaces.mcp.streamable import streamable_app
from mcp_jobs.interfaces.worker import leave_without_home
from mcp_jobs.service.assembly import Core, open_core

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.abc import TaskStatus

    from mcp_jobs.settings import Settings

_HEAD_BYTES: Final = 32 << 10
_WS_MESSAGE_BYTES: Final = 16 << 10
_KEEP_ALIVE_S: Final = 15
_GRACE_S: Final = 3
_LAST_WORD_S: Final = 2.5
"""After the signal, when open calls have had their time and connections are not cut yet."""

_BACKLOG: Final = 1024
_SEND_BYTES: Final = 1 << 17


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: ours let the core end in good order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_http(settings: Settings) -> None:
    """Serve until a signal comes. Running jobs are not touched by the end of the server.

    Raises `InvalidInputError` or `StoreError` when the home or the address cannot be used, or when
    the settings would let strangers at what is not theirs.
    """
    host.prepare_home(settings)
    verifier = None
    if settings.oidc_issuer or settings.oidc_audience:
        verifier = OidcVerifier(issuer=settings.oidc_issuer, audience=settings.oidc_audience)
    authenticator = Authenticator(
        TokenFile(settings.home), only_declared=settings.only_declared, verifier=verifier
    )
    with _bound(settings.host, settings.port) as listening:
        async with (
            open_core(settings, python_types(settings), shared=True) as core,
            streamable_app(core, owner_by_token, middleware=[check_scope]) as mcp,
            anyio.create_task_group() as tasks,
        ):
            parts = _parts(settings, core, authenticator)
            tasks.start_soon(core.upkeep.keep, "live events", parts.hub.run)
            tasks.start_soon(core.upkeep.keep, "open streams", parts.opened.run)
            tasks.start_soon(leave_without_home, core)
            server = Server(_config(settings, build_app(parts, mcp, verifier=verifier)))
            await tasks.start(_end_on_signal, server, parts)
            _announce(listening, authenticator)
            # As over stdio: requests do not wait for a walk through what is there for good.
            gc.freeze()
            await server.serve(sockets=[listening])
            tasks.cancel_scope.cancel()


def _parts(settings: Settings, core: Core, authenticator: Authenticator) -> Parts:
    cursors = Cursors(authenticator.tokens.event_key)
    # The tools of /mcp keep their own words.
    service = core.service.in_words_of(REST)
    hub = Hub(service=service, bus=core.bus, cursors=cursors)
    return Parts(
        settings=settings,
        service=service,
        schedules=core.schedules,
        store=core.store,
        upkeep=core.upkeep,
        authenticator=authenticator,
        opened=_opened(settings, authenticator),
        hub=hub,
        live=Live(hub=hub, service=service, store=core.store, cursors=cursors),
        metrics=Metrics(hub=hub, store=core.store),
        farewell=Farewell(),
    )


def _opened(settings: Settings, authenticator: Authenticator) -> Opened:
    def most() -> int:
        share = SHARE if authenticator.several_owners else 1
        return max(1, settings.max_connections // share)

    return Opened(still_valid=authenticator.still_valid, most=most)


def _config(settings: Settings, app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=bounded(settings.max_connections),
        ws="websockets-sansio",
        lifespan="off",
        # Requests are counted, not logged: headers and queries may hold secrets.
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        h11_max_incomplete_event_size=_HEAD_BYTES,
        ws_max_size=_WS_MESSAGE_BYTES,
        ws_per_message_deflate=False,
    )


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise InvalidInputError(
            f"The address {host}:{port} cannot be used: {error.strerror or error}. Choose another "
            "with --host and --port."
        ) from error
    # What the system keeps for a reader who does not read; connections inherit it.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
    with listening:
        yield listening


def _announce(listening: socket.socket, authenticator: Authenticator) -> None:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    lines = [
        f"mcp-jobs: serving http://{shown}:{port} (MCP at {MCP_PATH}); `mcp-jobs token` prints the "
        "token."
    ]
    if not host.startswith("127.") and host != "::1":
        lines.append(
            "mcp-jobs: this address can be reached from the network, and HTTP is not encrypted: "
            "put a proxy with TLS in front of it."
        )
    if authenticator.several_owners:
        lines.append(
            "mcp-jobs: several owners have tokens; one Unix user runs all their jobs, so only "
            "declared job types can be started."
        )
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


async def _end_on_signal(
    server: Server, parts: Parts, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            parts.hub.close(GOING_DOWN)
            parts.service.end_waits()
            server.should_exit = True
            await anyio.sleep(_LAST_WORD_S)
            await parts.farewell.say()
