"""Wire the MCP server together and serve it over stdio."""

from __future__ import annotations

import gc
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.shared.message import SessionMessage
from mcp_types import (
    CallToolRequestParams,
    ErrorData,
    JSONRPCError,
    NotificationParams,
)

from mcp_jobs import __version__
from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.interfaces.mcp.callers import local_user
from mcp_jobs.interfaces.mcp.calls import GONE_CODE, LEFT, Calls
from mcp_jobs.interfaces.mcp.notices import Notices
from mcp_jobs.interfaces.mcp.origins import Origins, of_this_process
from mcp_jobs.interfaces.mcp.resources import Resources
from mcp_jobs.interfaces.mcp.stdio import open_stdio
from mcp_jobs.interfaces.mcp.tasks import Tasks
from mcp_jobs.interfaces.mcp.tasks_2025 import CAPABILITY as TASKS_2025
from mcp_jobs.interfaces.mcp.tasks_2025 import Tasks2025
from mcp_jobs.interfaces.mcp.tools.job_tools import Tools
from mcp_jobs.interfaces.mcp.updates.channel import CAPABILITY, Channel
from mcp_jobs.interfaces.mcp.updates.listen import Listening
from mcp_jobs.interfaces.mcp.updates.push import Push
from mcp_jobs.interfaces.mcp.updates.subscribe import Subscriptions
from mcp_jobs.interfaces.mcp.updates.watched import Targets
from mcp_jobs.interfaces.worker import leave_on_signal, leave_without_home
from mcp_jobs.service.assembly import LOCAL_OWNER, Core, open_core
from mcp_jobs.settings import host_project, project_directory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp.server.context import ServerRequestContext
    from mcp.server.models import InitializationOptions
    from mcp.shared._stream_protocols import WriteStream

    from mcp_jobs.interfaces.mcp.callers import OwnerOf
    from mcp_jobs.job_types.python.definitions import JobSet
    from mcp_jobs.job_types.registry import JobType
    from mcp_jobs.settings import Settings

logger = logging.getLogger(__name__)

INSTRUCTIONS: Final = """\
mcp-jobs runs slow commands as background jobs that survive timeouts, restarts and crashes of the \
client and of this server. Start anything that may take more than a few seconds with start_job, go \
on working, and learn of the end with one check_job call with wait_seconds 50 (repeat while it \
runs). After a restart, list_jobs finds your jobs again. A program can report progress by \
appending JSON lines such as {"current": 3, "total": 10, "message": "..."} to the file named by \
$MCP_JOBS_PROGRESS. Jobs can be read and subscribed to as jobs://job/<job_id>."""

CALLS_S: Final = 0.2
"""What the open calls of a server that leaves may take: hosts give it a fraction of a second."""

_CHANNEL: Final = "The end of a job of this project arrives as a channel event."


class JobServer(Server[Any]):
    """The MCP server of this project; what it offers at the handshake is the same everywhere."""

    channel = False
    """Whether it is a channel of Claude Code too."""
    calls: Calls
    """What it is being asked."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Say that resources and tools come and go, which no handler tells (also over HTTP)."""
        options = notification_options or NotificationOptions(
            resources_changed=True, tools_changed=True
        )
        experimental = experimental_capabilities or ({CAPABILITY: {}} if self.channel else None)
        # Extensions came with 2026-07-28.
        made = super().create_initialization_options(options, experimental, extensions or {})
        made.capabilities.tasks = TASKS_2025
        return made


def build_server(
    core: Core,
    push: Push,
    owner_of: OwnerOf,
    *,
    origin_of: Origins | None = None,
    notices: Notices | None = None,
    channel: Channel | None = None,
) -> JobServer:
    """Return the MCP server over a running core, for the owners that `owner_of` names.

    `origin_of` knows the host that has started this server; without it there is none. `notices` and
    `channel` are for a server of one connection.
    """
    tasks = Tasks(service=core.service, clock=SystemClock(), owner_of=owner_of, notices=notices)
    targets = Targets(core.service, core.executor)
    subscriptions = Subscriptions(targets=targets, push=push, owner_of=owner_of)
    listening = Listening(targets=targets, tasks=tasks, push=push, owner_of=owner_of)
    tools = Tools(
        core.service,
        registry=core.registry,
        tasks=tasks,
        owner_of=owner_of,
        origin_of=origin_of or Origins(),
        notices=notices,
    )
    resources = Resources(core.service, core.schedules, owner_of=owner_of, notices=notices)
    server = JobServer(
        "mcp-jobs",
        version=__version__,
        title="Background jobs",
        description="Background jobs for AI agents that outlive timeouts, restarts and crashes.",
        instructions=INSTRUCTIONS if channel is None else f"{INSTRUCTIONS} {_CHANNEL}",
        on_list_tools=tools.list,
        on_list_resources=resources.list,
        on_list_resource_templates=resources.templates,
        on_read_resource=resources.read,
        on_subscribe_resource=subscriptions.subscribe,
        on_unsubscribe_resource=subscriptions.unsubscribe,
        on_subscriptions_listen=listening.listen,
    )
    server.add_request_handler("tools/call", CallToolRequestParams, tools.call)
    tasks.add_to(server)
    Tasks2025(service=core.service, tasks=tasks, tools=tools, push=push, owner_of=owner_of).add_to(
        server
    )

    async def on_initialized(context: ServerRequestContext[Any, Any], params: object) -> None:
        await subscriptions.on_initialized(context, params)
        if channel is not None:
            await channel.on_initialized(context, params)

    server.channel = channel is not None
    server.calls = Calls(core.service)
    server.middleware.insert(0, server.calls.answer)
    server.add_notification_handler("notifications/initialized", NotificationParams, on_initialized)
    return server


async def serve_stdio(settings: Settings, jobs: JobSet | None = None) -> None:
    """Serve one client over stdin and stdout until it closes them or a signal comes.

    The job types are the built-in ones, those of `jobs` and those of the setting `app`. Running
    jobs are not touched by the end of the server. Raises `InvalidInputError` or `StoreError` when
    the home or the app cannot be used.
    """
    try:
        await _serve_stdio(settings, python_types(settings, jobs))
    except* (BrokenPipeError, ConnectionResetError):
        # The client left while something was being said to it.
        logger.info("the client is gone")


async def _serve_stdio(settings: Settings, types: tuple[JobType, ...]) -> None:
    async with open_core(settings, types) as core:
        push = Push(core.bus)
        project = host_project()
        notices = Notices(service=core.service, owner=LOCAL_OWNER, project=project)
        channel = (
            Channel(service=core.service, push=push, owner=LOCAL_OWNER, project=project)
            if settings.channel
            else None
        )
        server = build_server(
            core,
            push,
            local_user,
            origin_of=of_this_process(),
            notices=notices,
            channel=channel,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(core.upkeep.keep, "push", push.run)
            # What is there now stays to the end: the collector need not walk through it again,
            # which would keep a call waiting for tens of milliseconds.
            gc.freeze()
            async with open_stdio(partial(server.calls.drain, CALLS_S)) as (
                reader,
                writer,
                settled,
            ):
                goodbye = partial(_say_goodbye, server.calls, writer, settled)
                tasks.start_soon(leave_on_signal, core, goodbye)
                tasks.start_soon(leave_without_home, core, goodbye)
                with notices.listening(core.bus):
                    await server.run(reader, writer, server.create_initialization_options())
            tasks.cancel_scope.cancel()


async def _say_goodbye(
    calls: Calls, writer: WriteStream[SessionMessage], settled: Callable[[], Awaitable[None]]
) -> None:
    """Answer everything that is open; bounded, also when the client does not read."""
    await calls.leave(CALLS_S)
    with anyio.move_on_after(CALLS_S):
        for request_id in calls.give_up():
            error = ErrorData(code=GONE_CODE, message=LEFT)
            answer = JSONRPCError(jsonrpc="2.0", id=request_id, error=error)
            await writer.send(SessionMessage(answer))
        await settled()


def python_types(settings: Settings, jobs: JobSet | None = None) -> tuple[JobType, ...]:
    """Return the types of `jobs` and of the app that the settings name.

    Raises `InvalidInputError` when there is no such app. A worker needs neither.
    """
    if jobs is None and settings.app is None:
        return ()
    # Nobody without Python jobs pays for it.
    from mcp_jobs.job_types.python import loading  # noqa: PLC0415

    sets = [] if jobs is None else [jobs]
    if settings.app is not None:
        sets.append(loading.load(settings.app, project_directory()))
    return tuple(job_type for job_set in sets for job_type in loading.types_of(job_set))
