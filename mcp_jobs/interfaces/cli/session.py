"""Open the home for one command, find jobs by a part of their id, wait for ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from mcp_jobs import __version__
from mcp_jobs import settings as configuration
from mcp_jobs.domain.errors import LauncherError, StoreUnwritableError, UnknownJobError
from mcp_jobs.domain.ids import ID_LENGTH
from mcp_jobs.domain.origin import told_origin
from mcp_jobs.domain.vocabulary import COMMANDS
from mcp_jobs.interfaces import event_loop
from mcp_jobs.interfaces.cli import screen
from mcp_jobs.interfaces.cli.exits import WrongOptionError
from mcp_jobs.job_types.registry import problems_in
from mcp_jobs.service.assembly import LOCAL_OWNER, Core, visit
from mcp_jobs.service.waiting import Waiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from mcp_jobs.domain.models import Job, JobOrigin
    from mcp_jobs.job_types.registry import JobType
    from mcp_jobs.output import OutputSource
    from mcp_jobs.service.requests import Scope
    from mcp_jobs.service.waiting import OnLook
    from mcp_jobs.settings import Settings

T = TypeVar("T")
R = TypeVar("R", bound=BaseModel)

OWNER: Final = LOCAL_OWNER
_NOTHING: Final[Mapping[str, Any]] = {}
_chosen: ContextVar[Mapping[str, Any]] = ContextVar("_chosen", default=_NOTHING)
_SHOWN_IDS: Final = 5
_IN_SANDBOX: Final = (
    "In a sandbox, list, show, logs and wait work all the same; start and cancel jobs outside of "
    "it, where the MCP server of a host runs."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The open home, as a command sees it."""

    core: Core
    settings: Settings

    async def id_of(self, part: str) -> str:
        """Return the one id that begins or ends with `part`.

        Raises `UnknownJobError` when there is none or more than one.
        """
        wanted = part.strip().lower()
        if not wanted:
            raise UnknownJobError("A job id cannot be empty; mcp-jobs list shows the ids.")
        found = await self.core.store.matching_ids(OWNER, wanted, limit=_SHOWN_IDS + 1)
        if len(found) == 1 or wanted in found:
            return wanted if wanted in found else found[0]
        if found:
            more = ", …" if len(found) > _SHOWN_IDS else ""
            raise UnknownJobError(
                f"More than one job has the id {part!r}: {', '.join(found[:_SHOWN_IDS])}{more}. "
                "Give more of it."
            )
        if len(wanted) < ID_LENGTH:
            raise UnknownJobError(
                f"There is no job {part!r}. An id may be cut to a beginning or an end that no "
                "other job has; mcp-jobs list shows the ids."
            )
        await self.core.service.find(OWNER, wanted)
        raise UnknownJobError(f"There is no job {part!r}.")

    async def job_of(self, part: str) -> Job:
        """Return the one job whose id begins or ends with `part`. Raises like `id_of`."""
        return await self.core.service.find(OWNER, await self.id_of(part))

    async def jobs_of(self, parts: Sequence[str]) -> list[Job]:
        """Return several jobs, each once. Raises like `id_of`."""
        jobs = [await self.job_of(part) for part in parts]
        return list({job.id: job for job in jobs}.values())

    async def ensure_worker(self) -> None:
        """Make sure that somebody works on the jobs, also when their servers were all killed.

        Where that cannot be, as in a sandbox, it is said, and the command goes on: others may work.
        """
        if self.core.read_only:
            screen.note("The home cannot be written to, so this command only reads it.")
            return
        try:
            await self.core.membership.ask_for_worker()
            await self.core.membership.hand_over()
        except LauncherError as error:
            screen.note(f"If no server is running, nothing works on this. {error}")

    async def wait_for_one(self, jobs: Sequence[Job], on_look: OnLook | None) -> Sequence[Job]:
        """Return the jobs as they are when at least one has ended; waits as long as it takes."""
        waiter = Waiter(store=self.core.store, bus=self.core.bus)
        return await waiter.wait(jobs, mode="any", wait_s=math.inf, on_look=on_look)

    def output_of(self, job_id: str) -> OutputSource:
        """Return where the output of a job lies."""
        return self.core.executor.output(job_id)


def origin() -> JobOrigin:
    """Return whose wish a command is: of this command line, in the project of its directory.

    In a shell of Claude Code it belongs to the session there.
    """
    return told_origin(
        client_name="mcp-jobs cli",
        client_version=__version__,
        project=configuration.project_of(configuration.current_directory()),
        session=configuration.claude_session(),
    )


def usual_scope() -> Scope:
    """Return whose jobs are meant where nobody says it: those of the project around, if any."""
    here = configuration.current_directory()
    return "all" if here is None or configuration.marked_project(here) is None else "project"


def choose(options: Mapping[str, Any]) -> None:
    """Let settings from the command line, before the command, win over the environment."""
    _chosen.set({name: value for name, value in options.items() if value})


def settings(**overrides: Any) -> Settings:
    """Return the settings of this command line. Raises `InvalidInputError`."""
    return configuration.load(**{**_chosen.get(), **overrides})


@asynccontextmanager
async def open_session(*, reading: bool = False, **overrides: Any) -> AsyncIterator[Session]:
    """Open the home; to a command that is only `reading`, also one that it cannot write to.

    Raises `InvalidInputError` or `StoreError`.
    """
    chosen = settings(**overrides)
    types: tuple[JobType, ...] = ()
    if chosen.app is not None:
        from mcp_jobs.job_types.python import loading

        types = loading.types_of(loading.load(chosen.app, configuration.project_directory()))
    try:
        async with visit(chosen, types, reading=reading) as core:
            # What to do next is told in commands, not as the tools of agents.
            service = core.service.in_words_of(COMMANDS)
            yield Session(core=replace(core, service=service), settings=chosen)
    except StoreUnwritableError as error:
        raise StoreUnwritableError(f"{error} {_IN_SANDBOX}") from error


def run(command: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Run an async command to its end."""

    async def main() -> T:
        return await command(*arguments)

    return event_loop.run(main)


def request(model: type[R], options: dict[str, str], fields: dict[str, Any]) -> R:
    """Make a request; `options` says which option of the command a field came from.

    Raises `WrongOptionError` in the words of the command line.
    """
    try:
        return model.model_validate({k: v for k, v in fields.items() if v is not None})
    except ValidationError as error:
        problems = problems_in(error, lambda where: options.get(str(where[0]), str(where[0])))
        raise WrongOptionError(f"{problems}.") from None
