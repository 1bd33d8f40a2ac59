"""One exception tree. Each class has a stable `code`; each message is a sentence for a person.

A message says what was wrong, what is allowed and what to do. The adapters (tools, command line)
show it as it stands, so no message may hold a secret or a traceback.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


class JobsError(Exception):
    """Base of every error that mcp_jobs raises on purpose."""

    code: ClassVar[str] = "error"


class InvalidInputError(JobsError):
    """The caller's arguments are not acceptable; nothing was stored."""

    code = "invalid_input"


class TooManyError(JobsError):
    """The caller has as much open as his share allows; nothing was done."""

    code = "too_many_open"


class UnknownJobError(JobsError):
    """No job of this owner has that id (a job of another owner counts as unknown)."""

    code = "unknown_job"


class UnknownScheduleError(JobsError):
    """No schedule of this owner, or more than one, is called so."""

    code = "unknown_schedule"


class KeyConflictError(JobsError):
    """An idempotency key came again with other arguments."""

    code = "key_conflict"


class StoreError(JobsError):
    """The job database cannot be used as it is."""

    code = "store"


class StoreBusyError(StoreError):
    """Other processes held the database's write lock for longer than we wait."""

    code = "store_busy"


class StoreUnsureError(StoreError):
    """It is not known whether a change was stored: the disk of the job database does not answer."""

    code = "store_unsure"


class StoreUnwritableError(StoreError):
    """This process may not write to the job database; it may still be able to read it."""


class HomeGoneError(StoreError):
    """The home or its database is no longer where this process found it, which therefore leaves."""

    code = "home_gone"


class NewerSchemaError(StoreError):
    """A newer mcp_jobs has written the job database, and this one cannot read it."""

    code = "newer_schema"


class FilesError(JobsError):
    """The system refuses what the files or connections of mcp-jobs need."""

    code = "files"


class LauncherError(JobsError):
    """The launcher process could not be started or reached."""

    code = "launcher"


class FatalError(JobsError):
    """This process cannot go on and is to end; no part of it is started again."""

    code = "fatal"


class UnsupportedPlatformError(JobsError):
    """This operating system is not supported."""

    code = "unsupported_platform"


_ADVICE: Final = {
    errno.ENOSPC: "free disk space, or name a home on another disk in MCP_JOBS_HOME",
    errno.EDQUOT: "free disk space, or name a home on another disk in MCP_JOBS_HOME",
    errno.EROFS: "make it writable, or name another home in MCP_JOBS_HOME",
    errno.EISDIR: "remove what is there, or name another home in MCP_JOBS_HOME",
    errno.ENOTDIR: "make it a directory, or name another home in MCP_JOBS_HOME",
    errno.EACCES: "give this user access to it, or name another home in MCP_JOBS_HOME",
    errno.EPERM: "give this user access to it, or name another home in MCP_JOBS_HOME",
    errno.ENFILE: "the whole machine has no more; end some programs and try again",
    errno.EAGAIN: "the machine or this user has too many processes; end some and try again",
    errno.ENOMEM: "the machine has no memory left; end some programs and try again",
}

UNWRITABLE: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def in_words(error: OSError, *, with_file: bool = True) -> str:
    """Say what the system refused, about which file, and what to do; no full stop at the end."""
    what = error.strerror or str(error) or type(error).__name__
    if error.errno == errno.EMFILE:
        import resource  # noqa: PLC0415 - Windows, which is refused in words, has none

        at_once = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return (
            f"{what} in this process, which may have {at_once} at once: wait until other calls "
            "and jobs have ended, or start it again under a higher limit (ulimit -n)"
        )
    named = with_file and isinstance(error.filename, str | bytes)
    about = f" ({os.fsdecode(error.filename)})" if named else ""
    advice = _ADVICE.get(error.errno or 0)
    return f"{what}{about}: {advice}" if advice else f"{what}{about}"


def is_unwritable(error: BaseException) -> bool:
    """Say whether an error came from a file or directory that this process may not write to."""
    cause = error.__cause__
    refused = isinstance(cause, OSError) and cause.errno in UNWRITABLE
    return refused or isinstance(error, StoreUnwritableError)


def known(error: BaseException) -> JobsError | None:
    """Return an error as one for people, also out of a task group; None for a fault of ours."""
    leaves = list(_leaves(error))
    for leaf in leaves:
        if isinstance(leaf, JobsError):
            return leaf
    for leaf in leaves:
        if isinstance(leaf, OSError):
            return FilesError(f"The files of mcp-jobs cannot be used: {in_words(leaf)}.")
        if isinstance(leaf, MemoryError):
            return FilesError("There is no memory left: end some programs and try again.")
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
