"""The person at the terminal: whether there is one, and what is asked of him.

A question is written to stderr and answered on stdin; both must be a terminal, or nobody has seen
it. Nothing typed, or the end of input, is no answer.
"""

from __future__ import annotations

import os
import sys

import typer

from mcp_jobs.domain.questions import visible
from mcp_jobs.execution.launcher.process_tree import job_around
from mcp_jobs.interfaces.cli import screen
from mcp_jobs.interfaces.cli.exits import RefusedError, WrongOptionError


def is_there() -> bool:
    """Say whether a person can read a question and answer it."""
    return sys.stdin is not None and sys.stdin.isatty() and screen.errors().is_terminal


def require(*, yes: bool, command: str, reading_stdout: bool = False) -> None:
    """Raise `WrongOptionError` where nobody can be asked and nobody has said `--yes`.

    With `reading_stdout`, what the question is about stands there.
    """
    asking = is_there() and (screen.on_terminal() or not reading_stdout)
    if not yes and not asking:
        raise WrongOptionError(
            f"{command} asks a person, and there is no terminal to ask on; nothing was done. Run "
            "it in a terminal, or say --yes if a person has decided."
        )


def refuse_jobs(command: str) -> None:
    """Raise `RefusedError` inside of a job: a job, and who started it, is no person."""
    job_id = job_around(os.getpid())
    if job_id is not None:
        named = f"the job {visible(job_id)}" if job_id else "a job"
        raise RefusedError(
            f"{command} was called inside {named}, and only a person may decide this; nothing "
            "was done. Run it in a terminal that no job has opened."
        )


def read(text: str, style: str = "") -> None:
    """Show what a question is about, line by line and without what a terminal would obey."""
    for line in text.split("\n"):
        screen.note(visible(line), style)


def agrees(question: str) -> bool:
    """Ask until the answer is yes or no. Raises `typer.Abort` at the end of input."""
    return typer.confirm(question, default=None, err=True)
