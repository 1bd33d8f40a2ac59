"""The WebSocket: the events of any jobs over one connection.

Messages are JSON objects. The client sends `{"type": "subscribe", "job_id": ..., "last_event_id":
...}` and `{"type": "unsubscribe", "job_id": ...}`; without a job id all jobs are meant. The server
sends `subscribed`, `event`, `unsubscribed` and `error`, each naming the job id that was given.
"""

from __future__ import annotations

import json
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import anyio
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocketDisconnect

from mcp_jobs.domain.errors import JobsError
from mcp_jobs.interfaces.http.auth.rights import COMMANDS
from mcp_jobs.interfaces.http.live.sse import ABORT, STALL_S
from mcp_jobs.interfaces.http.live.subscription import DROPPED
from mcp_jobs.interfaces.http.opened import LEFT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from anyio.abc import TaskGroup
    from starlette.websockets import WebSocket

    from mcp_jobs.interfaces.http.live.hub import Frame
    from mcp_jobs.interfaces.http.live.subscription import Live
    from mcp_jobs.interfaces.http.opened import Stay

SUBSCRIPTIONS: Final = 100
POLICY: Final = 1008
TRY_AGAIN: Final = 1013

_DETAIL_CHARS: Final = 300


class Command(BaseModel):
    """What a client may send."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["subscribe", "unsubscribe"]
    job_id: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    last_event_id: Annotated[str, Field(max_length=100)] | None = None


@contextmanager
def _ignoring_a_closed_line() -> Iterator[None]:
    # Starlette says by a RuntimeError that the other side has closed already.
    try:
        yield
    except* (WebSocketDisconnect, RuntimeError):
        pass


class Socket:
    """One connection. It ends when the client leaves, or when it does not keep up."""

    def __init__(
        self,
        websocket: WebSocket,
        *,
        live: Live,
        stay: Stay,
    ) -> None:
        self._websocket = websocket
        self._live = live
        self._owner = stay.principal.owner
        self._scopes = stay.principal.scopes
        self._stay = stay
        self._sending = anyio.Lock()
        self._subscriptions: dict[str | None, anyio.CancelScope] = {}

    async def serve(self) -> None:
        """Serve until either side ends it."""
        await self._websocket.accept()
        with _ignoring_a_closed_line():
            async with anyio.create_task_group() as tasks:
                while (text := await self._receive()) is not None:
                    await self._obey(text, tasks)
                tasks.cancel_scope.cancel()

    async def _receive(self) -> str | None:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        text: str | None = message.get("text")
        return text if text is not None else ""

    async def _obey(self, text: str, tasks: TaskGroup) -> None:
        if not self._stay.still_valid():
            await self._close(POLICY, LEFT)
            raise WebSocketDisconnect(POLICY)
        try:
            command = Command.model_validate_json(text)
        except ValidationError:
            await self._send(
                type="error",
                detail='Send JSON: {"type": "subscribe" or "unsubscribe", "job_id": "..."} with '
                '"last_event_id" where you go on; without "job_id" all jobs are meant.',
            )
            return
        if COMMANDS.get(command.type) not in self._scopes:
            await self._error(command.job_id, f"This token may not {command.type}.")
        elif command.type == "unsubscribe":
            await self._unsubscribe(command.job_id)
        elif command.job_id in self._subscriptions:
            await self._error(command.job_id, "You have subscribed to this already.")
        elif len(self._subscriptions) >= SUBSCRIPTIONS:
            await self._error(
                command.job_id,
                f"There are {SUBSCRIPTIONS} subscriptions already. Unsubscribe from one, or "
                "subscribe to all jobs at once.",
            )
        else:
            self._subscriptions[command.job_id] = scope = anyio.CancelScope()
            tasks.start_soon(self._pump, command, scope)

    async def _unsubscribe(self, job_id: str | None) -> None:
        scope = self._subscriptions.pop(job_id, None)
        if scope is None:
            await self._error(job_id, "You have not subscribed to this.")
            return
        scope.cancel()
        await self._send(type="unsubscribed", job_id=job_id)

    async def _pump(self, command: Command, scope: anyio.CancelScope) -> None:
        job_id = command.job_id
        frames = self._live.frames(
            self._owner, job_id, last_id=command.last_event_id, stay=self._stay
        )
        with scope:
            try:
                with self._live.share.of(self._owner):
                    await self._send(type="subscribed", job_id=job_id)
                    await self._pass_on(job_id, frames)
            except JobsError as error:
                await self._error(job_id, str(error))
            if self._subscriptions.get(job_id) is scope:
                # The job has ended: by itself, not by the client.
                del self._subscriptions[job_id]
                await self._send(type="unsubscribed", job_id=job_id)

    async def _pass_on(self, job_id: str | None, frames: AsyncGenerator[Frame]) -> None:
        async with aclosing(frames):
            async for frame in frames:
                if frame.name == DROPPED:
                    await self._leave(frame)
                elif frame.name:
                    await self._event(job_id, frame)

    async def _event(self, job_id: str | None, frame: Frame) -> None:
        await self._send(
            type="event",
            job_id=job_id,
            event=frame.name,
            id=frame.id,
            data=json.loads(frame.data),
        )

    async def _error(self, job_id: str | None, detail: str) -> None:
        await self._send(type="error", job_id=job_id, detail=detail[:_DETAIL_CHARS])

    async def _leave(self, frame: Frame) -> None:
        reason = str(json.loads(frame.data)["reason"])
        code = TRY_AGAIN if self._stay.still_valid() else POLICY
        await self._close(code, reason)

    async def _close(self, code: int, reason: str) -> None:
        async with self._sending:
            with anyio.move_on_after(STALL_S) as patience:
                await self._websocket.close(code, reason[:120])
        self._cut_if(patience)

    async def _send(self, **message: Any) -> None:
        with anyio.move_on_after(STALL_S) as patience:
            async with self._sending:
                await self._websocket.send_text(json.dumps(message))
        self._cut_if(patience)

    def _cut_if(self, patience: anyio.CancelScope) -> None:
        if patience.cancelled_caught:
            # He does not read; what is buffered for him would keep the connection for ever.
            self._websocket.scope.get(ABORT, lambda: None)()
            raise WebSocketDisconnect(TRY_AGAIN)
