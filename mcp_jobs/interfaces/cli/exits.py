"""The exit codes, and errors that carry one. docs/cli.md lists them."""

from __future__ import annotations

from typing import Final

from mcp_jobs.domain.errors import InvalidInputError, JobsError, UnknownJobError

OK: Final = 0
FAILED: Final = 1
"""The command could not do it; or a job that was waited for did not complete."""
USAGE: Final = 2
"""The command line itself is wrong."""
NO_SUCH_JOB: Final = 3
"""No job, or more than one, has that id."""
TIMED_OUT: Final = 124
"""The time to wait is over (the code of timeout(1))."""
INTERRUPTED: Final = 130
"""Ctrl-C."""


class WrongOptionError(InvalidInputError):
    """An option or argument has a value that is not allowed."""

    code = "wrong_option"


class RefusedError(InvalidInputError):
    """The command is not allowed here, however it is written."""

    code = "refused"


def code_of(error: JobsError) -> int:
    """Return the exit code that an error ends the command with."""
    if isinstance(error, UnknownJobError):
        return NO_SUCH_JOB
    return USAGE if isinstance(error, WrongOptionError) else FAILED
