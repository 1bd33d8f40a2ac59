"""Numbers for Prometheus. Each server has its own registry."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mcp_jobs import __version__
from mcp_jobs.domain.states import Status

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from mcp_jobs.interfaces.http.live.hub import Hub
    from mcp_jobs.store import Store

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_METHODS: Final = frozenset({"GET", "POST", "DELETE", "OPTIONS", "HEAD", "PUT", "PATCH"})


class Metrics:
    """What is counted, and the page that shows it."""

    def __init__(self, *, hub: Hub, store: Store) -> None:
        self._store = store
        self._hub = hub
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "mcp_jobs_http_requests",
            "Requests, by route and status.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "mcp_jobs_http_request_seconds",
            "Time to answer, without streams.",
            ("route",),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._jobs = Gauge(
            "mcp_jobs_jobs", "Jobs of every owner, by state.", ("status",), registry=registry
        )
        self._streams = Gauge("mcp_jobs_streams", "Open subscriptions.", registry=registry)
        self._streams.set_function(hub.count)
        self._dropped = Gauge(
            "mcp_jobs_streams_dropped", "Subscriptions dropped as too slow.", registry=registry
        )
        self._webhooks = Gauge(
            "mcp_jobs_webhooks_pending", "Webhook messages to be delivered.", registry=registry
        )
        info = Gauge("mcp_jobs_info", "The version.", ("version",), registry=registry)
        info.labels(__version__).set(1)

    async def page(self) -> bytes:
        """Return everything in the text format. Raises `StoreError`."""
        totals = await self._store.totals()
        for status in Status:
            self._jobs.labels(status.value).set(totals.get(status, 0))
        self._dropped.set(self._hub.dropped_total)
        self._webhooks.set(await self._store.outbox.pending())
        return generate_latest(self._registry)


class Meter:
    """Counts requests. Labels come from the routes, never from what a client sent."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.monotonic()
        status, stream = 500, False

        async def watch(message: Message) -> None:
            nonlocal status, stream
            if message["type"] == "http.response.start":
                status = message["status"]
                stream = any(
                    name == b"content-type" and value.startswith(b"text/event-stream")
                    for name, value in message["headers"]
                )
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", None) or _mount(scope["path"])
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(method, route, str(status)).inc()
            if not stream:
                self._metrics.seconds.labels(route).observe(time.monotonic() - began_s)


def _mount(path: str) -> str:
    return "/mcp" if path in ("/mcp", "/mcp/") else "other"
