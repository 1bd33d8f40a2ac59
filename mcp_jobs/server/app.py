"""Wire the MCP server together and serve it over stdio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from mcp_types import NotificationParams

from mcp_jobs import __version__
from mcp_jobs.core import LOCAL_OWNER, Core, open_core
from mcp_jobs.server.callers import local_user
from mcp_jobs.server.push import Push
from mcp_jobs.server.resources import Resources
from mcp_jobs.server.tools import Tools
from mcp_jobs.settings import project_directory
from mcp_jobs.worker import leave_on_signal

if TYPE_CHECKING:
    from mcp_jobs.definitions import JobSet
    from mcp_jobs.registry import JobType
    from mcp_jobs.server.callers import OwnerOf
    from mcp_jobs.settings import Settings

INSTRUCTIONS: Final = """\
mcp-jobs runs slow commands as background jobs that survive timeouts, restarts and crashes of the \
client and of this server. Start anything that may take more than a few seconds with start_job, go \
on working, and learn of the end with one check_job call with wait_seconds 50 (repeat while it \
runs). After a restart, list_jobs finds your jobs again. A program can report progress by \
appending JSON lines such as {"current": 3, "total": 10, "message": "..."} to the file named by \
$MCP_JOBS_PROGRESS. Jobs can be read and subscribed to as jobs://job/<job_id>."""


def build_server(core: Core, push: Push, owner_of: OwnerOf) -> Server[Any]:
    """Return the MCP server over a running core, for the owners that `owner_of` names."""
    tools = Tools(core.service, owner_of)
    resources = Resources(core.service, owner_of)
    server: Server[Any] = Server(
        "mcp-jobs",
        version=__version__,
        title="Background jobs",
        description="Background jobs for AI agents that outlive everything.",
        instructions=INSTRUCTIONS,
        on_list_tools=tools.list,
        on_call_tool=tools.call,
        on_list_resources=resources.list,
        on_list_resource_templates=resources.templates,
        on_read_resource=resources.read,
        on_subscribe_resource=push.subscribe,
        on_unsubscribe_resource=push.unsubscribe,
        on_subscriptions_listen=push.listen,
    )
    server.add_notification_handler(
        "notifications/initialized", NotificationParams, push.on_initialized
    )
    return server


async def serve_stdio(settings: Settings, jobs: JobSet | None = None) -> None:
    """Serve one client over stdin and stdout until it closes them or a signal comes.

    The job types are the built-in ones, those of `jobs` and those of the setting `app`. Running
    jobs are not touched by the end of the server. Raises `InvalidInputError` or `StoreError` when
    the home or the app cannot be used.
    """
    async with open_core(settings, _python_types(settings, jobs)) as core:
        push = Push(service=core.service, owner=LOCAL_OWNER, bus=core.bus, follower=core.follower)
        server = build_server(core, push, local_user)
        options = server.create_initialization_options(NotificationOptions(resources_changed=True))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leave_on_signal, core)
            tasks.start_soon(push.run)
            async with stdio_server() as (reader, writer):
                await server.run(reader, writer, options)
            tasks.cancel_scope.cancel()


def _python_types(settings: Settings, jobs: JobSet | None) -> tuple[JobType, ...]:
    if jobs is None and settings.app is None:
        return ()
    # Nobody without Python jobs pays for it.
    from mcp_jobs import apps  # noqa: PLC0415

    sets = [] if jobs is None else [jobs]
    if settings.app is not None:
        sets.append(apps.load(settings.app, project_directory()))
    return tuple(job_type for job_set in sets for job_type in apps.types_of(job_set))
