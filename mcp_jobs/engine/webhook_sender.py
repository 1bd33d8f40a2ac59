"""Sign a message by the Standard Webhooks rules and post it to an address that was checked.

See https://www.standardwebhooks.com. The name is resolved for each attempt, the address is checked
and the connection is made to that very address, so that a name which changes its meaning between
the check and the connection gains nothing. Redirects are not followed: they count as failures.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpcore2
from standardwebhooks import Webhook

from mcp_jobs import __version__
from mcp_jobs.domain.webhook_urls import Network, checked_url, may_connect

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 15.0
_CONNECT_S: Final = 5.0
_GONE: Final = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one attempt."""

    http_status: int | None
    error: str | None
    """None when the receiver accepted the message."""
    final: bool = False
    """The receiver wants no more of it."""


class Poster:
    """Posts messages of one home."""

    def __init__(self, *, secret: str, allowed: Sequence[Network]) -> None:
        self._signer = Webhook(secret)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            # How many there are is for the caller to say: one that waited would lose its time.
            max_connections=None,
            # No connection is kept: the next attempt resolves and checks anew.
            max_keepalive_connections=0,
            network_backend=CheckedBackend(allowed),
        )

    async def post(self, url: str, *, message_id: str, body: str, now_ms: int) -> Answer:
        """Post one message, within a bounded time. What goes wrong is in the answer."""
        try:
            url = checked_url(url)
        except ValueError as error:
            return Answer(http_status=None, error=f"The URL cannot be used: {error}.")
        try:
            with anyio.fail_after(_TIMEOUT_S):
                return await self._exchange(url, message_id, body, now_ms // 1000)
        except (TimeoutError, httpcore2.TimeoutException):
            return Answer(http_status=None, error=f"No answer within {_TIMEOUT_S:g} s.")
        except (OSError, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            return Answer(http_status=None, error=str(error) or type(error).__name__)
        except Exception as error:  # whatever it is, it is this delivery's failure and no other's
            logger.exception("webhook %s could not be sent", message_id)
            told = f"It could not be sent: {type(error).__name__}: {error}"
            return Answer(http_status=None, error=told)

    async def _exchange(self, url: str, message_id: str, body: str, now_s: int) -> Answer:
        headers = {
            "content-type": "application/json",
            "user-agent": f"mcp-jobs/{__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": self._signer.sign(
                message_id, datetime.fromtimestamp(now_s, UTC), body
            ),
            "host": _host_of(url),
        }
        timeouts = {"connect": _CONNECT_S, "read": _TIMEOUT_S, "write": _TIMEOUT_S}
        # Only the status is of interest; an endless body is not read.
        async with self._pool.stream(
            "POST",
            url,
            headers=list(headers.items()),
            content=body.encode(),
            extensions={"timeout": timeouts},
        ) as response:
            return _answer(response.status)


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connects only to addresses that `may_connect` lets through."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is the library's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        problem: Exception | None = None
        for address in await self._addresses(host, port):
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                problem = error
        raise httpcore2.ConnectError(f"The host {host} cannot be reached: {problem}.")

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = await _look_up(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"The host {host} is not known: {error}.") from error
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        # One forbidden address is enough: a public name has no reason to have a private address.
        if not addresses or not all(may_connect(a, allowed=self._allowed) for a in addresses):
            raise httpcore2.ConnectError(
                f"The host {host} is at {', '.join(addresses) or 'no address'}, and webhooks do "
                "not go to private addresses. Whoever runs the server may allow networks in "
                "MCP_JOBS_WEBHOOK_PRIVATE."
            )
        return addresses


async def _look_up(host: str, port: int) -> list[Any]:
    """Look a name up in a thread of its own.

    The event loop's few threads would be taken by names whose servers do not answer, and nobody
    else's name be found meanwhile.
    """
    look = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    return await anyio.to_thread.run_sync(
        look, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
    )


def _answer(status: int) -> Answer:
    if 200 <= status < 300:  # noqa: PLR2004 - the class of successful answers
        return Answer(http_status=status, error=None)
    return Answer(
        http_status=status, error=f"The receiver answered {status}.", final=status == _GONE
    )


def _host_of(url: str) -> str:
    return urlsplit(url).netloc
