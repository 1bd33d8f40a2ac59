"""Serve jobs from a server that somebody else has built.

The tools and resources of mcp-jobs are put beside those of the server, by wrapping its handlers.
What they need runs as long as the server's lifespan.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mcp.server.lowlevel import Server
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    CallToolRequestParams,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    RequestParams,
)

from mcp_jobs import settings as configuration
from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.interfaces.mcp.callers import local_user
from mcp_jobs.interfaces.mcp.origins import of_this_process
from mcp_jobs.interfaces.mcp.resources import Resources
from mcp_jobs.interfaces.mcp.tasks import Tasks
from mcp_jobs.interfaces.mcp.tools.job_tools import Tools
from mcp_jobs.job_types.python.loading import types_of
from mcp_jobs.service.assembly import open_core

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mcp_jobs.interfaces.mcp.callers import OwnerOf
    from mcp_jobs.job_types.python.definitions import JobSet

    Handler = Callable[[Any, Any], Awaitable[Any]]

Params = TypeVar("Params", bound=RequestParams)

_SCHEME: Final = "jobs://"


class Mount:
    """One `Jobs` object in one server."""

    def __init__(self, jobs: JobSet) -> None:
        self._jobs = jobs
        self._server: Server[Any] | None = None
        self._owner_of: OwnerOf = local_user
        self._tools: Tools | None = None
        self._resources: Resources | None = None

    def put_on(self, server: object, owner_of: OwnerOf | None) -> None:
        """Wrap the handlers of an `MCPServer` or a low-level `Server`."""
        self._server = _low_level(server)
        self._owner_of = owner_of or local_user
        self._wrap("tools/list", PaginatedRequestParams, self._list_tools)
        self._wrap("tools/call", CallToolRequestParams, self._call_tool)
        self._wrap("resources/list", PaginatedRequestParams, self._list_resources)
        self._wrap("resources/templates/list", PaginatedRequestParams, self._list_templates)
        self._wrap("resources/read", ReadResourceRequestParams, self._read_resource)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[dict[str, Any]]:
        """Work on jobs for as long as the server lives. Jobs that run then go on.

        Raises `InvalidInputError` or `StoreError` when the home cannot be used.
        """
        async with open_core(configuration.load(), types_of(self._jobs)) as core:
            tasks = Tasks(service=core.service, clock=SystemClock(), owner_of=self._owner_of)
            self._tools = Tools(
                core.service,
                registry=core.registry,
                tasks=tasks,
                owner_of=self._owner_of,
                origin_of=of_this_process(),
            )
            self._resources = Resources(core.service, core.schedules, owner_of=self._owner_of)
            if self._server is not None:
                tasks.add_to(self._server)
            try:
                yield {}
            finally:
                self._tools = self._resources = None

    # -- handlers, each with the one that was there before --------------------------------------

    async def _list_tools(self, context: Any, params: Any, inner: Handler) -> Any:
        theirs = await inner(context, params)
        if theirs.next_cursor is not None:
            return theirs
        ours = await self._running_tools.list(context, params)
        return theirs.model_copy(update={"tools": [*theirs.tools, *ours.tools]})

    async def _call_tool(self, context: Any, params: CallToolRequestParams, inner: Handler) -> Any:
        if not self._running_tools.has(params.name):
            return await inner(context, params)
        return await self._running_tools.call(context, params)

    async def _list_resources(self, context: Any, params: Any, inner: Handler) -> Any:
        theirs = await inner(context, params)
        if theirs.next_cursor is not None:
            return theirs
        ours = await self._running_resources.list(context, params)
        return theirs.model_copy(update={"resources": [*theirs.resources, *ours.resources]})

    async def _list_templates(self, context: Any, params: Any, inner: Handler) -> Any:
        theirs = await inner(context, params)
        if theirs.next_cursor is not None:
            return theirs
        ours = await self._running_resources.templates(context, params)
        templates = [*theirs.resource_templates, *ours.resource_templates]
        return theirs.model_copy(update={"resource_templates": templates})

    async def _read_resource(
        self, context: Any, params: ReadResourceRequestParams, inner: Handler
    ) -> Any:
        if not str(params.uri).startswith(_SCHEME):
            return await inner(context, params)
        return await self._running_resources.read(context, params)

    # -- small things ----------------------------------------------------------------------------

    def _wrap(
        self,
        method: str,
        params_type: type[Params],
        ours: Callable[[Any, Params, Handler], Awaitable[Any]],
    ) -> None:
        if self._server is None:
            return
        before = self._server.get_request_handler(method)
        if before is None:
            raise InvalidInputError(
                f"Jobs can be mounted only into a server that answers {method}; an MCPServer does."
            )
        inner = before.handler

        async def handle(context: Any, params: Params) -> Any:
            return await ours(context, params, inner)

        self._server.add_request_handler(method, params_type, handle)

    @property
    def _running_tools(self) -> Tools:
        if self._tools is None:
            raise _not_running()
        return self._tools

    @property
    def _running_resources(self) -> Resources:
        if self._resources is None:
            raise _not_running()
        return self._resources


def _low_level(server: object) -> Server[Any]:
    if isinstance(server, MCPServer):
        # There is no public way from an MCPServer to the handlers it has made.
        return server._lowlevel_server
    if isinstance(server, Server):
        return server
    raise InvalidInputError(
        f"Jobs can be mounted into an MCPServer or a low-level Server of the MCP SDK, not into a "
        f"{type(server).__name__}."
    )


def _not_running() -> MCPError:
    return MCPError(
        code=INTERNAL_ERROR,
        message="The jobs of this server do not run: it was built without lifespan=jobs.lifespan.",
    )
