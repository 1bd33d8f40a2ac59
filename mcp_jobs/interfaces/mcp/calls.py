"""The requests that are being answered: each gets its answer, also from a server that leaves."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, INTERNAL_ERROR

from mcp_jobs.domain.errors import known
from mcp_jobs.interfaces.mcp import rendering
from mcp_jobs.interfaces.mcp.stdio import turns

if TYPE_CHECKING:
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp_types import RequestId

    from mcp_jobs.service.job_service import JobService

logger = logging.getLogger(__name__)

GONE_CODE: Final = CONNECTION_CLOSED
REFUSED: Final = (
    "The server is leaving and did nothing for this request. Send it again to the next server: all "
    "jobs are there."
)
LEFT: Final = (
    "The server is leaving and could not finish this request. What it had stored by then stays: "
    "list_jobs on the next server shows it, and a start with the same idempotency_key is never "
    "done twice. Jobs that run go on."
)
_ENDLESS: Final = frozenset({"subscriptions/listen"})
"""Requests that are answered only when somebody ends them."""

_CANCEL_S: Final = 0.1
"""What a request that is broken off may still take, for what it must not leave half done."""


class Calls:
    """A middleware around every request of a server."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._open: dict[anyio.CancelScope, ServerRequestContext[Any, Any]] = {}
        self._changed = anyio.Event()
        self._leaving = False
        self._given_up = False

    async def answer(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Pass a message on; whatever its handler raises is an error in words."""
        if ctx.request_id is None:
            return await call_next(ctx)
        if self._leaving:
            raise MCPError(code=GONE_CODE, message=REFUSED)
        scope = anyio.CancelScope()
        self._open[scope] = ctx
        try:
            with scope:
                return await self._answer(ctx, call_next)
        finally:
            if self._given_up:
                # Somebody else has answered it, and nothing is answered twice.
                with anyio.CancelScope(shield=True):
                    await anyio.sleep_forever()
            del self._open[scope]
            self._changed.set()
        raise MCPError(code=GONE_CODE, message=LEFT)

    async def _answer(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        try:
            return await call_next(ctx)
        except MCPError:
            raise
        except Exception as error:
            if self._leaving:
                raise MCPError(code=GONE_CODE, message=LEFT) from error
            problem = known(error)
            if problem is None:
                raise
            logger.warning("%s failed: %s", ctx.method, problem)
            message = rendering.shortened(f"{problem} Nothing was lost.")
            raise MCPError(code=INTERNAL_ERROR, message=message) from None

    async def leave(self, bound_s: float) -> None:
        """Answer what is open within the bound, and refuse what comes now.

        Calls that wait for jobs return at once, with the jobs as they are.
        """
        self._leaving = True
        await self.drain(bound_s)
        for scope in self._open:
            scope.cancel()
        await self._emptied(_CANCEL_S)
        await turns()

    async def drain(self, bound_s: float) -> None:
        """Answer what is open, also what was read a moment ago, as far as the bound allows."""
        self._service.end_waits()
        await turns()
        for scope, ctx in self._open.items():
            if ctx.method in _ENDLESS:
                scope.cancel()
        await self._emptied(bound_s)
        await turns()

    def give_up(self) -> list[RequestId]:
        """Return the requests that even now have no answer; whoever asks has to answer them.

        Nothing breaks off a statement for which the database waits.
        """
        self._given_up = True
        return [ctx.request_id for ctx in self._open.values() if ctx.request_id is not None]

    async def _emptied(self, bound_s: float) -> None:
        with anyio.move_on_after(bound_s):
            while self._open:
                self._changed = anyio.Event()
                await self._changed.wait()
