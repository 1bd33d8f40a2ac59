"""One exception tree. Each class has a stable `code`; each message is a sentence for a person.

A message says what was wrong, what is allowed and what to do. The adapters (tools, command line)
show it as it stands, so no message may hold a secret or a traceback.
"""

from __future__ import annotations

from typing import ClassVar


class JobsError(Exception):
    """Base of every error that mcp_jobs raises on purpose."""

    code: ClassVar[str] = "error"


class InvalidInputError(JobsError):
    """The caller's arguments are not acceptable; nothing was stored."""

    code = "invalid_input"


class UnknownJobError(JobsError):
    """No job of this owner has that id (a job of another owner counts as unknown)."""

    code = "unknown_job"


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


class NewerSchemaError(StoreError):
    """A newer mcp_jobs has written the job database, and this one cannot read it."""

    code = "newer_schema"


class LauncherError(JobsError):
    """The launcher process could not be started or reached."""

    code = "launcher"


class IllegalTransitionError(JobsError):
    """A state change that the transition table does not have."""

    code = "illegal_transition"


class UnsupportedPlatformError(JobsError):
    """This operating system is not supported."""

    code = "unsupported_platform"
