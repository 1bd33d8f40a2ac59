"""`Jobs`: the job types of a Python application, how to serve them and how to start them."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from mcp_jobs.job_types.python.definitions import Definition, JobSet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from mcp_jobs.interfaces.mcp.mounting import Mount
    from mcp_jobs.job_types.python.context import JobContext
    from mcp_jobs.service.producer import StartedJob

    Function = TypeVar("Function", bound=Callable[..., Any])


P = ParamSpec("P")


class Jobs(JobSet):
    """Functions that agents may start as background jobs.

    Each job runs in an interpreter of its own, which imports the module that defines the function.
    So a job survives this process and can be killed, and the module must be importable.
    """

    def job(  # noqa: PLR0913 - each is an option by name
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        retries: int = 0,
        retry_on_interrupt: bool = False,
        confirm: bool | str = False,
        expose: bool = False,
        tasks: Literal["optional", "never", "required"] = "optional",
        ask_for: Sequence[str] = (),
        env: Sequence[str] = (),
        cwd: bool | str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = False,
        schedule: str | Mapping[str, Any] | None = None,
        priority: int = 0,
        locks: str | Sequence[str] = (),
    ) -> Callable[[Function], Function]:
        """Make a typed function, sync or async, a job type. The function itself stays as it is.

        `timeout` and `idle_timeout` are seconds. `retries` is how often `RetryableError` leads to
        another attempt. With `confirm` a person is asked before a job begins. `expose` makes it a
        tool of its own too. Name and description are the function's if not given.

        `tasks` and `ask_for` are for that tool. With tasks="never" it waits for the end, up to 50
        seconds, and answers with the result; with "required" it can be called only by clients that
        understand tasks. `ask_for` names parameters that the user is asked for when a call leaves
        them out.

        `env` names the environment variables that callers may give; those that change what programs
        load or run cannot be named. `cwd` says whether callers may choose the directory: True for
        any, or the directories in or below which it must lie.

        `schedule` starts it by the clock: a cron expression of five fields, or a mapping with
        `cron` and, where they are needed, `timezone` ("UTC"), `params`, `overlap` ("skip",
        "queue_one", "cancel_running" or "allow") and `catchup_seconds` (3600). It is checked when
        the jobs are served.

        `priority` (-100 to 100) is that of its jobs, the higher the sooner, unless a caller says
        another. `locks` are names that each of its jobs holds while it runs; at most one job holds
        a name at a time, or as many as `Jobs(capacities=...)` says. `{project}` in it stands for
        the project's directory. Raises `InvalidInputError` for what cannot be a job type.
        """
        question = "May this job start?" if confirm is True else confirm or None

        def take(function: Function) -> Function:
            own_name = name or function.__name__
            definition = Definition(
                name=own_name,
                description=description or _first_paragraph(function) or own_name,
                function=function,
                timeout_s=timeout,
                idle_timeout_s=idle_timeout,
                retries=retries,
                retry_on_interrupt=retry_on_interrupt,
                confirm=question,
                expose=expose,
                tasks=tasks,
                ask_for=tuple(ask_for),
                env=(env,) if isinstance(env, str) else tuple(env),
                cwd=cwd if isinstance(cwd, bool) else _paths(cwd),
                schedule={"cron": schedule} if isinstance(schedule, str) else schedule,
                priority=priority,
                locks=(locks,) if isinstance(locks, str) else tuple(locks),
            )
            return self.add(function, definition)

        return take

    def options(
        self,
        *,
        priority: int | None = None,
        locks: str | Sequence[str] = (),
        if_running: Literal["start", "attach", "supersede"] = "start",
        after: Sequence[StartedJob | str] = (),
        after_any_end: bool = False,
        retry_of: StartedJob | str | None = None,
    ) -> Jobs:
        """Return these jobs, so that what is started with them has these options.

        `jobs.options(after=[built], locks=["prod"]).enqueue(deploy)`. `priority` is -100 to 100,
        the higher the sooner. `locks` are added to those of the job. While a job with the same
        parameters has not ended, `if_running` starts another one, attaches to that one, or
        supersedes it. A job with `after` begins when these have completed, or ended in any way with
        `after_any_end`. `retry_of` starts an ended job again: what a call leaves out is as it was.
        Whether the values make sense is checked at the start, which raises `InvalidInputError`.
        """
        given = {
            "priority": priority,
            "locks": [locks] if isinstance(locks, str) else list(locks),
            "if_running": if_running,
            "after": [_id_of(job) for job in after],
            "after_any_end": after_any_end or None,
            "retry_of": None if retry_of is None else _id_of(retry_of),
        }
        other = copy(self)
        other.choices = {name: value for name, value in given.items() if value not in (None, [])}
        return other

    @overload
    def enqueue(
        self,
        function: Callable[Concatenate[JobContext, P], object],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> StartedJob: ...

    @overload
    def enqueue(
        self, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> StartedJob: ...

    def enqueue(self, function: Callable[..., object], /, *args: Any, **kwargs: Any) -> StartedJob:
        """Start a job that calls `function` with these arguments, and return when it is stored.

        `function` is one of these jobs. The arguments are its own, without a `JobContext`. Any
        process may do this that uses the same home (`MCP_JOBS_HOME`) and can import the function's
        module. The servers and workers of the home run the job; where there are none, a worker is
        started by itself, and leaves when nothing is left to do.

        Raises TypeError for arguments that `function` does not take, `InvalidInputError` for values
        that do not fit and where an event loop runs (there: `start`), and `StoreError` when the
        home cannot be used.
        """
        from mcp_jobs.service import producer

        return producer.enqueue(self, function, args, kwargs)

    @overload
    async def start(
        self,
        function: Callable[Concatenate[JobContext, P], object],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> StartedJob: ...

    @overload
    async def start(
        self, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> StartedJob: ...

    async def start(
        self, function: Callable[..., object], /, *args: Any, **kwargs: Any
    ) -> StartedJob:
        """Do as `enqueue` in an asyncio event loop.

        When it is cancelled, the job may have been stored or not.
        """
        from mcp_jobs.service import producer

        return await producer.start(self, function, args, kwargs)

    def run(self) -> None:
        """Serve the jobs over stdio until the client leaves: the whole main part of a server.

        In the process of a job it does nothing, so that a job's process may import the script.
        """
        from mcp_jobs.job_types.python.child import MAIN_NAME

        if MAIN_NAME in sys.modules:
            return
        from mcp_jobs.__main__ import serve

        serve(self)

    def mount(self, server: object, *, owner_of: Callable[[Any], str] | None = None) -> None:
        """Offer the jobs in an existing `MCPServer` or low-level `Server`, beside its own tools.

        Build that server with `lifespan=jobs.lifespan`. `owner_of` names the owner of a request by
        its context, where a server has several users; without it all jobs belong to one. Raises
        `InvalidInputError` for anything that is no such server.
        """
        self._mount.put_on(server, owner_of)

    @asynccontextmanager
    async def lifespan(self, server: object) -> AsyncIterator[dict[str, Any]]:
        """Work on jobs while a server that they are mounted into runs.

        Enter it in your own lifespan if the server has one. Raises `InvalidInputError` or
        `StoreError` when the home cannot be used.
        """
        del server
        async with self._mount.running() as state:
            yield state

    @cached_property
    def _mount(self) -> Mount:
        from mcp_jobs.interfaces.mcp.mounting import Mount

        return Mount(self)


def _id_of(job: StartedJob | str) -> str:
    return job if isinstance(job, str) else job.id


def _paths(
    given: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> tuple[str, ...]:
    several = [given] if isinstance(given, str | os.PathLike) else given
    return tuple(os.path.expanduser(os.fspath(path)) for path in several)


def _first_paragraph(function: Callable[..., Any]) -> str:
    text = (function.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(text.split())
