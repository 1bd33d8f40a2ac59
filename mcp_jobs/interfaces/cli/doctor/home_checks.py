"""The home: rights, space, database, launcher, and jobs that nobody cares for."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Final

from mcp_jobs import settings as configuration
from mcp_jobs.domain.errors import JobsError, LauncherError
from mcp_jobs.domain.models import JobFilter
from mcp_jobs.domain.states import Status
from mcp_jobs.execution import host, job_directory
from mcp_jobs.execution.incarnation import identify
from mcp_jobs.execution.owner_locks import told_by_others
from mcp_jobs.interfaces.cli import session
from mcp_jobs.interfaces.cli.doctor import schedule_checks
from mcp_jobs.interfaces.cli.doctor.findings import Finding, fault, fine, warning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from mcp_jobs.domain.models import Job
    from mcp_jobs.interfaces.cli.session import Session
    from mcp_jobs.settings import Settings

_SOCKET_PATH_BYTES: Final = 104
_SOCKET_NAME_BYTES: Final = 26
_LITTLE_BYTES: Final = 1 << 30
_TOO_LITTLE_BYTES: Final = 64 << 20
_REMOTE: Final = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph")
_STALE_LIMIT: Final = 100
_FREE_SPACE_ADVICE: Final = "Free some space, or shorten the retention: mcp-jobs prune --keep 100."


async def check() -> AsyncIterator[Finding]:
    """Look at the settings, the home and what is in it."""
    try:
        settings = configuration.load()
        host.prepare_home(settings)
        rights = list(_rights(settings.home))
    except JobsError as error:
        yield fault("home", str(error), "Nothing works until this is fixed.")
        return
    for finding in (*rights, *_disk(settings.home), *_runtime()):
        yield finding
    try:
        async with session.open_session() as opened:
            async for finding in _inside(opened, settings):
                yield finding
    except JobsError as error:
        yield fault("database", str(error), "See docs/faq.md, or use another home.")


def _rights(home: Path) -> Iterator[Finding]:
    # Whose it is and who may read it needs no look: opening it has refused another user's, and has
    # closed it to others.
    copied = " It began as a copy of another home." if identify(home).copy_of else ""
    yield fine("home", f"{home}, for this user alone.{copied}")
    kind = file_system(home)
    if kind in _REMOTE:
        yield warning(
            "home",
            f"{home} is on a {kind} file system, where locks cannot be trusted.",
            "Name a directory on a local disk in MCP_JOBS_HOME.",
        )


def file_system(path: Path) -> str:
    """Return the kind of file system that `path` is on; empty where that is not told."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
            entries = [line.split()[:3] for line in mounts]
    except OSError:
        return ""
    real = os.path.realpath(path)
    best = ("", "")
    for _, point, kind in entries:
        place = point.replace("\\040", " ")
        inside = place in ("/", real) or real.startswith(f"{place}/")
        if inside and len(place) >= len(best[0]):
            best = (place, kind)
    return best[1]


def _disk(home: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(home).free
    text = f"{free / (1 << 30):.1f} GiB free"
    if free < _TOO_LITTLE_BYTES:
        yield fault("disk", f"{text}: too little to store jobs.", _FREE_SPACE_ADVICE)
    elif free < _LITTLE_BYTES:
        yield warning("disk", f"{text}: one job may print 64 MiB.", _FREE_SPACE_ADVICE)
    else:
        yield fine("disk", text)


def _runtime() -> Iterator[Finding]:
    try:
        directory = host.runtime_directory()
    except JobsError as error:
        yield fault("sockets", str(error), "Jobs cannot be started until this is fixed.")
        return
    if len(os.fsencode(directory)) + _SOCKET_NAME_BYTES > _SOCKET_PATH_BYTES:
        yield fault(
            "sockets",
            f"{directory} is too long for a socket.",
            "Set XDG_RUNTIME_DIR to a short private directory.",
        )
    else:
        yield fine("sockets", str(directory))


async def _inside(opened: Session, settings: Settings) -> AsyncIterator[Finding]:
    counts = await opened.core.store.counts(session.OWNER)
    total = sum(counts.values())
    yield fine("database", f"{settings.database}, {total} {'job' if total == 1 else 'jobs'}")
    yield _types(opened)
    async for finding in schedule_checks.check(opened):
        yield finding
    stale = await _stale(opened, settings)
    try:
        await opened.core.membership.ask_for_worker()
        await opened.core.membership.hand_over()
        yield fine("launcher", "it answers")
    except LauncherError as error:
        yield fault("launcher", str(error), "Read that log; a new launcher starts by itself.")
    for finding in (*stale, *_parts(settings)):
        yield finding


def _types(opened: Session) -> Finding:
    names = opened.core.registry.names()
    problem = opened.core.catalogue.problem()
    if problem is None:
        return fine("job types", ", ".join(names))
    return warning("job types", problem, "mcp-jobs types shows what can be started here.")


def _parts(settings: Settings) -> Iterator[Finding]:
    """Tell what the servers and workers of this home say of parts of theirs that fail."""
    well = True
    for text in told_by_others(settings.owners_dir).values():
        try:
            told = json.loads(text)
            lines = [
                f"{fault['part']} of the server or worker with pid {told['pid']} fails "
                f"({fault['count']} times in a row so far): {fault['error']}"
                for fault in told["faults"]
            ]
        except (ValueError, TypeError, LookupError):
            # Half written, or by another version.
            continue
        for line in lines:
            well = False
            yield warning(
                "parts",
                line,
                "It is started again by itself; the log of that process says more. If it goes on, "
                "restart that process: jobs that run are not touched.",
            )
    if well:
        yield fine("parts", "no server or worker reports a fault")


async def _stale(opened: Session, settings: Settings) -> list[Finding]:
    """Look before somebody is called to work, who would take these jobs over."""
    store = opened.core.store
    lost = [
        job
        for job in await store.running()
        if not job_directory.runner_alive(settings.jobs_dir / job.id)
        and opened.core.membership.members.is_gone(str(job.claimed_by))
    ]
    waiting = await store.list(
        session.OWNER,
        JobFilter(statuses=(Status.PENDING, Status.RETRYING)),
        limit=_STALE_LIMIT,
        cursor=None,
    )
    foreign = [job for job in waiting.jobs if job.locality != job_directory.locality()]
    found: list[Finding] = []
    if lost:
        found.append(
            warning(
                "stale jobs",
                f"{_named(lost)} had neither a runner nor a server.",
                "A worker settles them now; mcp-jobs list shows how they ended.",
            )
        )
    if foreign:
        found.append(
            warning(
                "stale jobs",
                f"{_named(foreign)} waits for another machine or container to run it.",
                "Start mcp-jobs worker there; if it is gone for good, cancel them.",
            )
        )
    return found or [fine("stale jobs", "none")]


def _named(jobs: list[Job]) -> str:
    rest = f" and {len(jobs) - 3} more" if len(jobs) > 3 else ""  # noqa: PLR2004 - as many as shown
    return ", ".join(job.id for job in jobs[:3]) + rest
