"""The floor: a bare low-level SDK server over stdio with one tool that does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

_TOOL = Tool(name="noop", description="Does nothing.", input_schema={"type": "object"})


async def _list(
    context: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None
) -> ListToolsResult:
    del context, params
    return ListToolsResult(tools=[_TOOL])


async def _call(
    context: ServerRequestContext[Any, Any], params: CallToolRequestParams
) -> CallToolResult:
    del context, params
    return CallToolResult(content=[TextContent(text="ok")])


async def _serve() -> None:
    server: Server[Any] = Server("floor", version="1", on_list_tools=_list, on_call_tool=_call)
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(_serve)
