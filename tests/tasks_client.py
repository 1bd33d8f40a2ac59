"""A real client that declares the Tasks extension, over stdio or HTTP."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import anyio
from mcp.client.extension import ClientExtension, NotificationBinding, ResultClaim
from mcp_types import Request, RequestParams, Result, SubscriptionsListenResult
from pydantic import BaseModel, ConfigDict

from mcp_jobs.interfaces.mcp.tasks import EXTENSION
from tests.http import open_http_client, serve_http
from tests.support import BOUND_S, MODERN, open_client, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from mcp import Client
    from mcp_types import CallToolResult

    from tests.support import Place

Task = dict[str, Any]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class _CreatedTask(Result):
    model_config = ConfigDict(extra="allow")
    result_type: Literal["task"] = "task"


class _AnyResult(Result):
    model_config = ConfigDict(extra="allow")


class _Params(RequestParams):
    model_config = ConfigDict(extra="allow")


class _TaskRequest(Request[_Params, str]):
    name_param: ClassVar[str | None] = "taskId"


class _Listen(Request[_Params, str]):
    pass


async def _unresolved(created: _CreatedTask, _: object) -> CallToolResult:
    raise AssertionError(f"nobody asked to wait for {created}")


class TasksExtension(ClientExtension):
    identifier = EXTENSION

    def __init__(self) -> None:
        self.notified: list[Task] = []

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=_CreatedTask, resolve=_unresolved)]

    def notifications(self) -> Sequence[NotificationBinding[Any]]:
        return [
            NotificationBinding(method="notifications/tasks", params_type=_Open, handler=self._note)
        ]

    async def _note(self, params: _Open) -> None:
        self.notified.append(params.model_dump())


@dataclass
class TaskClient:
    """Calls tools and asks for tasks; `notified` is what notifications/tasks told."""

    client: Client
    notified: list[Task] = field(default_factory=list)

    async def call(self, tool: str, arguments: dict[str, Any]) -> Task:
        """Call a tool; returns a task or a complete result as the wire had it."""
        result = await self.client.session.call_tool(tool, arguments, allow_claimed=True)
        return result.model_dump(by_alias=True, mode="json")

    async def start(self, command: str, **arguments: Any) -> Task:
        """Start a shell job that must become a task."""
        task = await self.call("start_job", {"params": {"command": command}, **arguments})
        assert task["resultType"] == "task", task
        return task

    async def ask(self, method: str, **params: Any) -> Task:
        """Send a request of the extension."""
        request = _TaskRequest(method=method, params=_Params(**params))
        result = await self.client.session.send_request(request, _AnyResult)
        return result.model_dump(by_alias=True, mode="json", exclude={"meta"})

    async def get(self, task_id: str) -> Task:
        """tasks/get."""
        return await self.ask("tasks/get", taskId=task_id)

    async def until(self, task_id: str, *statuses: str) -> Task:
        """Poll until a task is in one of `statuses`."""
        with anyio.fail_after(BOUND_S):
            while True:
                task = await self.get(task_id)
                if task["status"] in statuses:
                    return task
                await anyio.sleep(0.02)

    async def ended(self, task_id: str) -> Task:
        """Poll until a task has ended."""
        return await self.until(task_id, "completed", "failed", "cancelled")

    @asynccontextmanager
    async def listening(self, *task_ids: str, **more: Any) -> AsyncIterator[None]:
        """Keep a listen request open that names tasks; begins when something was heard or sent."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.listen, {"taskIds": list(task_ids), **more})
            yield
            tasks.cancel_scope.cancel()

    async def listen(self, wanted: dict[str, Any]) -> None:
        """Send a listen request and stay with it."""
        request = _Listen(
            method="subscriptions/listen", params=_Params.model_validate({"notifications": wanted})
        )
        await self.client.session.send_request(request, SubscriptionsListenResult)

    async def until_told(self, task_id: str, status: str) -> Task:
        """Wait for a notification of a task in a state."""

        def told() -> list[Task]:
            return [t for t in self.notified if (t["taskId"], t["status"]) == (task_id, status)]

        await until(told)
        return told()[0]


@asynccontextmanager
async def task_client(place: Place, transport: str) -> AsyncIterator[TaskClient]:
    """Open a client with tasks on a new server."""
    extension = TasksExtension()
    async with _opened(place, transport, extension) as client:
        yield TaskClient(client, extension.notified)


@asynccontextmanager
async def plain_client(place: Place, transport: str) -> AsyncIterator[TaskClient]:
    """Open a client of the same era that knows nothing of tasks."""
    async with _opened(place, transport) as client:
        yield TaskClient(client)


@asynccontextmanager
async def _opened(place: Place, transport: str, *extensions: Any) -> AsyncIterator[Client]:
    if transport == "stdio":
        async with open_client(place, MODERN, extensions=extensions) as client:
            yield client
        return
    over_http: AbstractAsyncContextManager[str] = serve_http(place)
    async with (
        over_http as url,
        open_http_client(url, MODERN, owner="ann", extensions=extensions) as client,
    ):
        yield client
