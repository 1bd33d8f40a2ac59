"""`start` and `retry`: the job outlives the command, whoever works on it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcp_jobs.domain.secrecy import MASKED
from mcp_jobs.interfaces.cli import screen, session, wording
from mcp_jobs.interfaces.cli.exits import WrongOptionError
from mcp_jobs.interfaces.cli.options import JobPart, Json, json_object, seconds, variables
from mcp_jobs.interfaces.cli.wait import wait_for
from mcp_jobs.service.requests import StartJob, check_directory

if TYPE_CHECKING:
    from mcp_jobs.domain.job_object import JobObject
    from mcp_jobs.domain.models import Job

_OPTIONS = {
    "type": "--type",
    "params": "--params",
    "cwd": "--cwd",
    "title": "--title",
    "env": "--env",
    "timeout_seconds": "--timeout",
    "idle_timeout_seconds": "--idle-timeout",
    "max_retries": "--retries",
    "delay_seconds": "--delay",
    "idempotency_key": "--key",
}
_OUTPUT_LINES = 20


def start(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[--] COMMAND...",
            help="Command to run. One word is a line for the shell; several are taken as they are.",
        ),
    ] = None,
    *,
    type_name: Annotated[str, typer.Option("--type", help="Job type.")] = "shell",
    params: Annotated[
        str | None, typer.Option(help="Parameters of the type, as a JSON object.")
    ] = None,
    cwd: Annotated[
        Path | None, typer.Option(help="Directory to run in.", show_default="this one")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Name of the job in lists.")] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Variable to add; may be given several times."),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop it after this long (90, 10m, 2h).")
    ] = None,
    idle_timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Stop it when it prints nothing for this long."),
    ] = None,
    retries: Annotated[int | None, typer.Option(help="Try a failed job again so often.")] = None,
    retry_on_interrupt: Annotated[
        bool,
        typer.Option("--retry-on-interrupt", help="Run it again if a crash or reboot cut it off."),
    ] = False,
    delay: Annotated[
        str | None, typer.Option(metavar="TIME", help="Start only after this long.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="If this key has started a job before, show that job.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; exit 0 only if it completed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start a job and print its id. It goes on when this command and the terminal are gone."""
    fields = {
        "type": type_name,
        "params": _params(type_name, command or [], params),
        "cwd": _directory(type_name, cwd),
        "title": title,
        "env": variables(env or [], "--env"),
        "timeout_seconds": seconds(timeout, "--timeout"),
        "idle_timeout_seconds": seconds(idle_timeout, "--idle-timeout"),
        "max_retries": retries,
        "retry_on_interrupt": retry_on_interrupt or None,
        "delay_seconds": seconds(delay, "--delay"),
        "idempotency_key": key,
    }
    request = session.request(StartJob, _OPTIONS, fields)
    raise typer.Exit(session.run(_start, request, wait, as_json))


def retry(
    job: JobPart,
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; exit 0 only if it completed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start the same job again, as a new job: same type, parameters, directory and limits.

    Its environment is that of this command: what the first one had is not kept after its end.
    """
    raise typer.Exit(session.run(_retry, job, wait, as_json))


def _params(type_name: str, command: list[str], params: str | None) -> dict[str, Any]:
    given = json_object(params, "--params")
    if not command:
        if type_name == "shell" and "command" not in given:
            raise WrongOptionError(
                "No command was given. Write it after two dashes: mcp-jobs start -- make test."
            )
        return given
    if type_name != "shell":
        raise WrongOptionError(
            f"Only the type shell takes a command; give the parameters of {type_name} by --params."
        )
    line = command[0] if len(command) == 1 else shlex.join(command)
    return {**given, "command": line}


def _directory(type_name: str, cwd: Path | None) -> str | None:
    """Return where to run; a declared type may have a directory of its own."""
    if cwd is not None:
        path = os.path.abspath(cwd)
        try:
            check_directory(path)
        except ValueError as error:
            raise WrongOptionError(f"--cwd: {error}.") from None
        return path
    return os.getcwd() if type_name == "shell" else None


async def _start(wanted: StartJob, wait: bool, as_json: bool) -> int:
    async with session.open_session() as opened:
        return await _accept(opened, wanted, wait, as_json)


async def _retry(part: str, wait: bool, as_json: bool) -> int:
    async with session.open_session() as opened:
        job = await opened.job_of(part)
        return await _accept(opened, _again(job), wait, as_json, known_cwd=job.cwd)


async def _accept(
    opened: session.Session,
    wanted: StartJob,
    wait: bool,
    as_json: bool,
    known_cwd: str | None = None,
) -> int:
    shown = await opened.core.service.start(
        session.OWNER, wanted, known_cwd=known_cwd, origin=session.origin()
    )
    await opened.core.membership.hand_over()
    if wait:
        if not as_json and screen.errors().is_terminal:
            screen.note(f"{shown['job_id']} started: {wording.title_of(shown)}")
        job = await opened.core.service.find(session.OWNER, shown["job_id"])
        code = await wait_for(opened, [job], stop_at_first=False, as_json=as_json)
        if code and not as_json:
            await _tell_output(opened, job.id)
        return code
    if as_json:
        screen.write_json(shown)
    else:
        screen.write_line(shown["job_id"])
        if screen.on_terminal():
            screen.note(_hint(shown))
    return 0


def _hint(shown: JobObject) -> str:
    if shown["status"] == "input_required":
        return f"It waits for a person: mcp-jobs approve {shown['job_id']}"
    return f"mcp-jobs logs -f {shown['job_id']}  shows what it prints."


async def _tell_output(opened: session.Session, job_id: str) -> None:
    """Print the last lines of a job that went wrong, so that nobody has to ask for them."""
    shown = await opened.core.service.show(session.OWNER, job_id)
    for line in shown["output"]["text"].splitlines()[-_OUTPUT_LINES:]:
        screen.write_line(f"  {screen.clean(line)}")


def _again(job: Job) -> StartJob:
    if hidden := [name for name, value in job.params.items() if MASKED in _values(value)]:
        raise WrongOptionError(
            f"Job {job.id} cannot be started again by retry: {', '.join(hidden)} was secret and is "
            f"not kept. Start it anew with mcp-jobs start --type {job.type} --params '{{...}}'."
        )
    fields = {
        "type": job.type,
        "params": dict(job.params),
        "cwd": job.cwd,
        "title": job.title,
        "timeout_seconds": job.timeout_s,
        "idle_timeout_seconds": job.idle_timeout_s,
        "max_retries": job.max_attempts - 1,
        "retry_on_interrupt": job.retry_on_interrupt,
    }
    return session.request(StartJob, _OPTIONS, fields)


def _values(value: Any) -> list[Any]:
    """Return a value and all that is in it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(found for each in inner for found in _values(each))]
