"""`schedule`: jobs that are started by the clock."""

from __future__ import annotations

import os
import pwd
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mcp_jobs.domain.schedules import DEFAULT_ZONE, Overlap
from mcp_jobs.interfaces.cli import screen, session, wording
from mcp_jobs.interfaces.cli.exits import WrongOptionError
from mcp_jobs.interfaces.cli.options import Json, json_object, seconds
from mcp_jobs.service.schedule_requests import AddSchedule
from mcp_jobs.service.schedule_service import Reach

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_OPTIONS: Final = {
    "name": "NAME",
    "cron": "CRON",
    "timezone": "--timezone",
    "type": "--type",
    "params": "--params",
    "cwd": "--cwd",
    "overlap": "--overlap",
    "catchup_seconds": "--catchup",
}
MINE: Final = Reach(owner=session.OWNER)
ScheduleName = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Name or id of a schedule.")]


def add(
    name: Annotated[str, typer.Argument(help="Its name.")],
    cron: Annotated[
        str,
        typer.Argument(help='Minute, hour, day of month, month, day of week, such as "0 3 * * *".'),
    ],
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[--] COMMAND...", help="Command to run, as start takes it."),
    ] = None,
    *,
    timezone: Annotated[
        str, typer.Option("--timezone", "-z", help="Whose times these are, e.g. Europe/Berlin.")
    ] = DEFAULT_ZONE,
    type_name: Annotated[str, typer.Option("--type", help="Job type.")] = "shell",
    params: Annotated[
        str | None, typer.Option(help="Parameters of the type, as a JSON object.")
    ] = None,
    cwd: Annotated[
        Path | None, typer.Option(help="Directory to run in.", show_default="this one")
    ] = None,
    overlap: Annotated[
        Overlap,
        typer.Option(help="What a fire does while a job of the schedule has not ended."),
    ] = "skip",
    catchup: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How late a missed fire is made up for; default 1h."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start a command or a job type again and again, by the clock."""
    directory = os.path.abspath(cwd) if cwd is not None else None
    if directory is None and type_name == "shell":
        directory = os.getcwd()
    fields = {
        "name": name,
        "cron": cron,
        "timezone": timezone,
        "type": type_name,
        "params": _params(type_name, command or [], params),
        "cwd": directory,
        "overlap": overlap,
        "catchup_seconds": seconds(catchup, "--catchup"),
    }
    asked = session.request(AddSchedule, _OPTIONS, fields)
    session.run(_add, asked, as_json)


def list_schedules(*, as_json: Json = False) -> None:
    """List the schedules: when they fire next, how their last jobs ended, what they missed."""
    session.run(_list, as_json)


def show(schedule: ScheduleName, *, as_json: Json = False) -> None:
    """Show one schedule with its newest jobs."""
    session.run(_show, schedule, as_json)


def pause(
    schedule: ScheduleName,
    *,
    why: Annotated[str | None, typer.Option(help="For what reason.")] = None,
    as_json: Json = False,
) -> None:
    """Hold a schedule. What comes meanwhile is not made up for."""
    by = _user()
    session.run(
        _change,
        lambda opened: opened.core.schedules.pause(MINE, schedule, by=by, why=why),
        "is paused",
        as_json,
    )


def resume(schedule: ScheduleName, *, as_json: Json = False) -> None:
    """Let a schedule go on with the next of its times."""
    session.run(
        _change, lambda opened: opened.core.schedules.resume(MINE, schedule), "goes on", as_json
    )


def run(schedule: ScheduleName, *, as_json: Json = False) -> None:
    """Start the job of a schedule now, and print its id."""
    session.run(_run, schedule, as_json)


def remove(schedule: ScheduleName, *, as_json: Json = False) -> None:
    """Forget a schedule; the jobs that it has started stay."""
    session.run(
        _change, lambda opened: opened.core.schedules.remove(MINE, schedule), "is removed", as_json
    )


def commands() -> typer.Typer:
    """Return the commands below `schedule`."""
    app = typer.Typer(
        help="Jobs that are started by the clock.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command("add")(add)
    app.command("list")(list_schedules)
    app.command("show")(show)
    app.command("pause")(pause)
    app.command("resume")(resume)
    app.command("run")(run)
    app.command("remove")(remove)
    return app


def _params(type_name: str, command: list[str], params: str | None) -> dict[str, Any]:
    given = json_object(params, "--params")
    if not command:
        if type_name == "shell" and "command" not in given:
            raise WrongOptionError(
                'No command was given. Write it after two dashes: mcp-jobs schedule add nightly "0 '
                '3 * * *" -- make test.'
            )
        return given
    if type_name != "shell":
        raise WrongOptionError(
            f"Only the type shell takes a command; give the parameters of {type_name} by --params."
        )
    return {**given, "command": command[0] if len(command) == 1 else shlex.join(command)}


def _user() -> str:
    """Return who holds something: the user of this process, as the system knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


async def _add(asked: AddSchedule, as_json: bool) -> None:
    async with session.open_session() as opened:
        shown = await opened.core.schedules.add(session.OWNER, asked)
    if as_json:
        screen.write_json(shown)
        return
    screen.write_line(f"{shown['name']} fires next {_when(shown)}.")
    screen.note(
        "It fires while a server or worker of this home is running; mcp-jobs service install keeps "
        "one."
    )


async def _list(as_json: bool) -> None:
    async with session.open_session(reading=True) as opened:
        if not opened.core.read_only:
            await opened.core.scheduling.sync()
        shown = await opened.core.schedules.list(MINE)
    if as_json:
        screen.write_json(shown)
        return
    if not shown["schedules"]:
        screen.note("There are no schedules. mcp-jobs schedule add makes one.")
        return
    rows = [
        (
            one["name"],
            screen.clean(one["cron"]),
            one["timezone"],
            "paused" if one["paused"] else _ago(one["next_fires"]),
            _last(one),
            str(one["missed"]),
            "!" if one["problem"] else "",
        )
        for one in shown["schedules"]
    ]
    screen.write_columns([("NAME", "CRON", "ZONE", "NEXT", "LAST", "MISSED", ""), *rows])


async def _show(named: str, as_json: bool) -> None:
    async with session.open_session(reading=True) as opened:
        if not opened.core.read_only:
            await opened.core.scheduling.sync()
        shown = await opened.core.schedules.show(MINE, named)
    if as_json:
        screen.write_json(shown)
        return
    for name, value in _facts(shown):
        screen.write_line(f"{name + ':':<12} {screen.clean(value)}")
    for job in shown["last_jobs"]:
        reason = f" ({job['reason']})" if job["reason"] else ""
        screen.write_line(f"  {job['fire_at']}  {job['job_id']}  {job['status']}{reason}")


def _facts(shown: dict[str, Any]) -> list[tuple[str, str]]:
    paused = shown["paused"]
    facts = {
        "schedule": f"{shown['name']} ({shown['schedule_id']})",
        "starts": f"{shown['type']} {shown['params'] or ''}".strip(),
        "in": shown["cwd"],
        "declared in": shown["declared_in"],
        "when": f"{shown['cron']} in {shown['timezone']}",
        "next": ", ".join(shown["next_fires"]),
        "paused": paused and f"by {paused['by']} since {paused['at']}: {paused['why'] or '-'}",
        "overlap": shown["overlap"],
        "catch up": wording.span(shown["catchup_seconds"]),
        "missed": str(shown["missed"]),
        "skipped": str(shown["skipped"]),
        "problem": shown["problem"],
    }
    return [(name, value) for name, value in facts.items() if value]


async def _change(
    change: Callable[[session.Session], Awaitable[dict[str, Any]]], done: str, as_json: bool
) -> None:
    async with session.open_session() as opened:
        await opened.core.scheduling.sync()
        shown = await change(opened)
    if as_json:
        screen.write_json(shown)
    else:
        screen.write_line(f"{shown['name']} {done}.")


async def _run(named: str, as_json: bool) -> None:
    async with session.open_session() as opened:
        await opened.core.scheduling.sync()
        job = await opened.core.schedules.run(MINE, named)
        await opened.core.membership.hand_over()
        shown = await opened.core.service.glance(session.OWNER, job.id)
    if as_json:
        screen.write_json(shown)
    else:
        screen.write_line(job.id)


def _when(shown: dict[str, Any]) -> str:
    return ", ".join(shown["next_fires"][:1]) or "never"


def _ago(fires: list[str]) -> str:
    return wording.ago(fires[0]) if fires else "never"


def _last(shown: dict[str, Any]) -> str:
    jobs = shown["last_jobs"]
    return f"{jobs[0]['status']} {wording.ago(jobs[0]['fire_at'])}" if jobs else "-"
