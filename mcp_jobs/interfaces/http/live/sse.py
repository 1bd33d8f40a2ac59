"""Server-sent events. A reader that does not read is cut off after a while."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import anyio
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send

    from mcp_jobs.interfaces.http.live.hub import Frame

STALL_S: Final = 30.0
"""How long one event may take to be read before the reader is taken for dead."""

ABORT: Final = "mcp_jobs.abort"
"""Where an ASGI scope has the way to cut its connection, if the server gives one."""

_RETRY_MS: Final = 1000


class EventStream(Response):
    """Sends the frames of an iterator as they come, and ends with it."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[Frame]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        # The length of a stream is not known.
        del self.headers["content-length"]
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the frames or the client end."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_disconnected, receive, tasks.cancel_scope)
            try:
                async with aclosing(self._frames):
                    with anyio.move_on_after(STALL_S) as patience:
                        await self._send_all(send, patience)
                if patience.cancelled_caught and ABORT in scope:
                    # What is buffered for him would keep the connection alive for ever.
                    scope[ABORT]()
            finally:
                tasks.cancel_scope.cancel()

    async def _send_all(self, send: Send, patience: anyio.CancelScope) -> None:
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        await send(_body(f"retry: {_RETRY_MS}\n\n"))
        patience.deadline = float("inf")
        async for frame in self._frames:
            patience.deadline = anyio.current_time() + STALL_S
            await send(_body(text_of(frame)))
            patience.deadline = float("inf")
        patience.deadline = anyio.current_time() + STALL_S
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def text_of(frame: Frame) -> str:
    """Return a frame in the format of an event stream; one without a name is a comment."""
    if not frame.name:
        return ": still here\n\n"
    place = f"id: {frame.id}\n" if frame.id is not None else ""
    # JSON has no line breaks outside of strings, and escapes those inside.
    return f"{place}event: {frame.name}\ndata: {frame.data}\n\n"


def _body(text: str) -> dict[str, object]:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}


async def _until_disconnected(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
