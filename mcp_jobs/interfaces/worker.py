"""A worker: the same share of the work as a server's, without MCP."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

import anyio

from mcp_jobs import settings as configuration
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.service.assembly import Core, open_core

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp_jobs.job_types.registry import JobType
    from mcp_jobs.settings import Settings

logger = logging.getLogger(__name__)

_EXIT_BUDGET_S: Final = 0.2
"""Hosts follow SIGTERM by SIGKILL within a fraction of a second."""


async def work(settings: Settings, drain: bool) -> None:
    """Run jobs until a signal comes, or with `drain` until none is left.

    With `drain` it also stays for the webhooks that are due within ten minutes.
    Running jobs are not touched by the end of the worker. Raises `InvalidInputError` or
    `StoreError` when the home cannot be used.
    """
    if drain and not settings.home.exists():
        # The home was removed since somebody wanted it drained, and must not come back by that.
        return
    types = () if drain else _types(settings)
    async with open_core(settings, types) as core, anyio.create_task_group() as tasks:
        tasks.start_soon(leave_on_signal, core)
        tasks.start_soon(leave_without_home, core)
        if drain:
            await core.backend.drained()
            await core.webhooks.until_quiet()
            tasks.cancel_scope.cancel()
        else:
            await anyio.sleep_forever()


def _types(settings: Settings) -> tuple[JobType, ...]:
    """Return the Python jobs that were asked for: only who knows them fires their schedules.

    The queue is worked on all the same when they cannot be loaded.
    """
    if settings.app is None:
        return ()
    from mcp_jobs.job_types.python import loading  # noqa: PLC0415 - most workers need none of it

    try:
        return loading.types_of(loading.load(settings.app, configuration.project_directory()))
    except InvalidInputError as error:
        logger.warning("the schedules of Python jobs are not fired here: %s", error)
        return ()


async def leave_on_signal(core: Core, before: Callable[[], Awaitable[None]] | None = None) -> None:
    """End the process on SIGINT and SIGTERM, within the time that hosts give.

    `before` is what is to be done while the store is still open; it bounds itself.

    A thread that reads stdin cannot be woken, so a normal return would wait for the client to
    close it (python-sdk issue 3551). Everything that was answered is durable already.
    """
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if before is not None:
                await before()
            await _leave(core, 0)


async def leave_without_home(
    core: Core, before: Callable[[], Awaitable[None]] | None = None
) -> None:
    """End the process when its home or its database is gone, with one sentence and exit code 1.

    `before` is as in `leave_on_signal`.
    """
    problem = await core.home.gone()
    if before is not None:
        await before()
    sys.stderr.write(f"mcp-jobs: {problem}\n")
    sys.stderr.flush()
    await _leave(core, 1)


async def _leave(core: Core, code: int) -> NoReturn:
    core.upkeep.end()
    with anyio.move_on_after(_EXIT_BUDGET_S, shield=True):
        await core.membership.leave()
        await core.store.close()
    os._exit(code)
