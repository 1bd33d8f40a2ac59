"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from mcp_jobs.domain.errors import JobsError
from mcp_jobs.interfaces.cli.exits import WrongOptionError

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

_COMPLETED: Final = 50


def complete_job(incomplete: str) -> list[tuple[str, str]]:
    """Return the ids that begin so, newest first, with their states and titles."""
    from mcp_jobs.interfaces.cli import session

    try:
        return session.run(_ids, incomplete.lower())
    except (JobsError, OSError, BaseExceptionGroup):
        # The shell has no place for a sentence.
        return []


async def _ids(incomplete: str) -> list[tuple[str, str]]:
    from mcp_jobs.interfaces.cli import session, wording
    from mcp_jobs.service.requests import ListJobs

    async with session.open_session() as opened:
        shown = await opened.core.service.list(session.OWNER, ListJobs(limit=_COMPLETED))
    return [
        (job["job_id"], f"{wording.status_of(job)}: {wording.title_of(job)}")
        for job in shown["jobs"]
        if job["job_id"].startswith(incomplete)
    ]


JobPart = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="Id of a job; a beginning or an end of it will do.",
        autocompletion=complete_job,
    ),
]
JobParts = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB...",
        help="Ids of jobs; a beginning or an end of each will do.",
        autocompletion=complete_job,
    ),
]


class ScopeName(StrEnum):
    """Whose jobs are meant."""

    SESSION = "session"
    PROJECT = "project"
    ALL = "all"


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for the end; exit 0 only if it completed.")
]
Title = Annotated[str | None, typer.Option(help="Name of the job in lists.")]
Env = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Variable to add; may be given several times."),
]
Timeout = Annotated[
    str | None, typer.Option(metavar="TIME", help="Stop it after this long (90, 10m, 2h).")
]
IdleTimeout = Annotated[
    str | None, typer.Option(metavar="TIME", help="Stop it when it prints nothing for this long.")
]
Retries = Annotated[int | None, typer.Option(help="Try a failed job again so often.")]
Delay = Annotated[str | None, typer.Option(metavar="TIME", help="Start only after this long.")]
Key = Annotated[
    str | None, typer.Option(help="If this key has started a job before, show that job.")
]
PriorityOption = Annotated[
    int | None, typer.Option("--priority", help="-100 to 100; the higher comes first.")
]
Lock = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Lock to hold while it runs; may be given several times. {project}: this project's.",
    ),
]
IfRunningOption = Annotated[
    str | None,
    typer.Option(
        "--if-running",
        metavar="WHAT",
        help="While the same job has not ended: start, attach to it, or supersede it.",
    ),
]
After = Annotated[
    list[str] | None,
    typer.Option(
        metavar="JOB",
        help="Begin when this job has completed; may be given several times.",
        autocompletion=complete_job,
    ),
]
AfterAnyEnd = Annotated[
    bool, typer.Option("--after-any-end", help="With --after: any end of theirs will do.")
]


def seconds(text: str | None, option: str) -> float | None:
    """Read a duration: `90`, `90s`, `10m`, `2h` or `1d`. Raises `WrongOptionError`."""
    if text is None:
        return None
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise WrongOptionError(
            f"{option} {text!r} is not a duration. Write seconds, or a number with s, m, h or "
            "d: 90, 10m, 2h."
        )
    return float(match[1]) * _UNITS[match[2]]


def variables(pairs: list[str], option: str) -> dict[str, str]:
    """Read `NAME=VALUE` pairs. Raises `WrongOptionError`."""
    for pair in pairs:
        if "=" not in pair:
            raise WrongOptionError(f"{option} {pair!r} must be NAME=VALUE.")
    return dict(pair.split("=", 1) for pair in pairs)


def json_object(text: str | None, option: str) -> dict[str, Any]:
    """Read a JSON object. Raises `WrongOptionError`."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise WrongOptionError(f"{option} is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise WrongOptionError(f'{option} must be a JSON object, such as {{"name": "value"}}.')
    return value
