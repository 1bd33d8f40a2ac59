"""`start` and `retry`: the job outlives the command, whoever works on it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcp_jobs.interfaces.cli import screen, session, wording
from mcp_jobs.interfaces.cli.exits import WrongOptionError
from mcp_jobs.interfaces.cli.options import (
    After,
    AfterAnyEnd,
    Delay,
    Env,
    IdleTimeout,
    IfRunningOption,
    JobPart,
    Json,
    Key,
    Lock,
    PriorityOption,
    Retries,
    Timeout,
    Title,
    Wait,
    json_object,
    seconds,
    variables,
)
from mcp_jobs.interfaces.cli.wait import wait_for
from mcp_jobs.service.requests import StartJob, check_directory

if TYPE_CHECKING:
    from mcp_jobs.domain.job_object import JobObject

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
    "priority": "--priority",
    "locks": "--lock",
    "if_running": "--if-running",
    "after": "--after",
    "after_any_end": "--after-any-end",
    "retry_of": "--retry-of",
}
_OUTPUT_LINES = 20
_SHELL = "shell"


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
    title: Title = None,
    env: Env = None,
    timeout: Timeout = None,
    idle_timeout: IdleTimeout = None,
    retries: Retries = None,
    retry_on_interrupt: Annotated[
        bool,
        typer.Option("--retry-on-interrupt", help="Run it again if a crash or reboot cut it off."),
    ] = False,
    delay: Delay = None,
    key: Key = None,
    priority: PriorityOption = None,
    lock: Lock = None,
    if_running: IfRunningOption = None,
    after: After = None,
    after_any_end: AfterAnyEnd = False,
    retry_of: Annotated[
        str | None,
        typer.Option(metavar="JOB", help="Start this ended job again, as retry does."),
    ] = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Start a job and print its id. It goes on when this command and the terminal are gone."""
    anew = retry_of is None
    fields = {
        "type": type_name if anew or type_name != _SHELL else None,
        "params": _params(type_name, command or [], params, anew=anew),
        "cwd": _directory(type_name if anew else None, cwd),
        "title": title,
        "env": variables(env, "--env") if env else None,
        "timeout_seconds": seconds(timeout, "--timeout"),
        "idle_timeout_seconds": seconds(idle_timeout, "--idle-timeout"),
        "max_retries": retries,
        "retry_on_interrupt": retry_on_interrupt or None,
        "delay_seconds": seconds(delay, "--delay"),
        "idempotency_key": key,
        "priority": priority,
        "locks": lock,
        "if_running": if_running,
        "after": after,
        "after_any_end": after_any_end or None,
        "retry_of": retry_of,
    }
    raise typer.Exit(_run(_OPTIONS, fields, wait, as_json))


def retry(
    job: JobPart,
    *,
    params: Annotated[
        str | None,
        typer.Option(help="Parameters to change, as a JSON object; the others stay as they were."),
    ] = None,
    cwd: Annotated[
        Path | None, typer.Option(help="Directory to run in.", show_default="as before")
    ] = None,
    title: Title = None,
    env: Env = None,
    no_env: Annotated[
        bool, typer.Option("--no-env", help="Without the variables that were given before.")
    ] = False,
    timeout: Timeout = None,
    idle_timeout: IdleTimeout = None,
    retries: Retries = None,
    delay: Delay = None,
    key: Key = None,
    priority: PriorityOption = None,
    lock: Lock = None,
    if_running: IfRunningOption = None,
    after: After = None,
    after_any_end: AfterAnyEnd = False,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Start an ended job again, as a new job: as it was, but for what is given here.

    Variables and secret parameters of the first one are not kept: give them again.
    """
    fields = {
        "params": json_object(params, "--params") or None,
        "cwd": _directory(None, cwd),
        "title": title,
        "env": variables(env, "--env") if env else {} if no_env else None,
        "timeout_seconds": seconds(timeout, "--timeout"),
        "idle_timeout_seconds": seconds(idle_timeout, "--idle-timeout"),
        "max_retries": retries,
        "delay_seconds": seconds(delay, "--delay"),
        "idempotency_key": key,
        "priority": priority,
        "locks": lock,
        "if_running": if_running,
        "after": after,
        "after_any_end": after_any_end or None,
        "retry_of": job,
    }
    raise typer.Exit(_run({**_OPTIONS, "retry_of": "JOB"}, fields, wait, as_json))


def _run(options: dict[str, str], fields: dict[str, Any], wait: bool, as_json: bool) -> int:
    return session.run(_start, session.request(StartJob, options, fields), wait, as_json)


def _params(
    type_name: str, command: list[str], params: str | None, *, anew: bool
) -> dict[str, Any] | None:
    given = json_object(params, "--params")
    if not command:
        if anew and type_name == _SHELL and "command" not in given:
            raise WrongOptionError(
                "No command was given. Write it after two dashes: mcp-jobs start -- make test."
            )
        return given if given or anew else None
    if type_name != _SHELL:
        raise WrongOptionError(
            f"Only the type shell takes a command; give the parameters of {type_name} by --params."
        )
    line = command[0] if len(command) == 1 else shlex.join(command)
    return {**given, "command": line}


def _directory(type_name: str | None, cwd: Path | None) -> str | None:
    """Return where to run; a declared type, or an earlier job, may have a directory of its own."""
    if cwd is not None:
        path = os.path.abspath(cwd)
        try:
            check_directory(path)
        except ValueError as error:
            raise WrongOptionError(f"--cwd: {error}.") from None
        return path
    return os.getcwd() if type_name == _SHELL else None


async def _start(wanted: StartJob, wait: bool, as_json: bool) -> int:
    async with session.open_session() as opened:
        # Ids may be cut, as everywhere on the command line.
        ids: dict[str, Any] = {"after": [await opened.id_of(part) for part in wanted.after]}
        if wanted.retry_of is not None:
            ids["retry_of"] = await opened.id_of(wanted.retry_of)
        kept = {name: value for name, value in ids.items() if name in wanted.model_fields_set}
        return await _accept(opened, wanted.model_copy(update=kept), wait, as_json)


async def _accept(opened: session.Session, wanted: StartJob, wait: bool, as_json: bool) -> int:
    shown = await opened.core.service.start(session.OWNER, wanted, origin=session.origin())
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
