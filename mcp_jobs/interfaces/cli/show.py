"""`list`, `show` and `types`: what there is."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer
from rich.text import Text

from mcp_jobs.domain.events import JobChanged
from mcp_jobs.domain.job_object import counted_tests, summary_in
from mcp_jobs.domain.questions import visible
from mcp_jobs.domain.states import Status
from mcp_jobs.interfaces.cli import screen, session, tables, wording
from mcp_jobs.interfaces.cli.options import JobPart, Json, ScopeName
from mcp_jobs.service.requests import CheckJob, ListJobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.domain.events import Event
    from mcp_jobs.domain.job_object import JobObject
    from mcp_jobs.job_types.registry import JobType

_OPTIONS = {
    "status": "--status",
    "type": "--type",
    "scope": "--scope",
    "limit": "--limit",
    "cursor": "--cursor",
}
_TICK_S = 1.0
_SHOWN_LINES = 20
_FACTS = (("type", "type"), ("directory", "cwd"), ("exit code", "exit_code"))
_MOMENTS = (
    ("created", "created_at"),
    ("starts", "run_at"),
    ("started", "started_at"),
    ("ended", "finished_at"),
    ("next attempt", "next_attempt_at"),
)
_ATTEMPT_COLUMNS = ("ATTEMPT", "STARTED", "ENDED", "END", "CPU", "MEMORY")
_MIB = 1 << 20


def list_jobs(
    *,
    status: Annotated[
        list[Status] | None,
        typer.Option(help="Only jobs in this state; may be given several times."),
    ] = None,
    type_name: Annotated[str | None, typer.Option("--type", help="Only jobs of this type.")] = None,
    here: Annotated[
        bool, typer.Option("--here", help="Only jobs that run in this directory.")
    ] = False,
    scope: Annotated[
        ScopeName | None,
        typer.Option(
            help="Only jobs of this session or project, or all.",
            show_default="project inside of one, else all",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many, at most 100.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the previous page.")] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Keep running and show what changes, until Ctrl-C."),
    ] = False,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    fields = {
        "status": status or None,
        "type": type_name,
        "cwd": os.getcwd() if here else None,
        "scope": scope or (None if here else session.usual_scope()),
        "limit": limit,
        "cursor": cursor,
    }
    wanted = session.request(ListJobs, _OPTIONS, fields)
    if not watch:
        session.run(_list, wanted, as_json)
        return
    # Ctrl-C is the way out of watching, and no failure.
    with suppress(KeyboardInterrupt):
        session.run(_watch, wanted, as_json)


def show(job: JobPart, *, as_json: Json = False) -> None:
    """Show everything about a job, with the end of its output."""
    session.run(_show, job, as_json)


def types(*, as_json: Json = False) -> None:
    """List the job types that can be started here."""
    session.run(_types, as_json)


async def _list(wanted: ListJobs, as_json: bool) -> None:
    async with session.open_session(reading=True) as opened:
        shown = await opened.core.service.list(session.OWNER, wanted, origin=session.origin())
    if as_json:
        screen.write_json(shown)
    elif not shown["jobs"]:
        screen.note("No jobs." if wanted.status is None else "No such jobs.")
    elif screen.on_terminal():
        screen.console().print(tables.table(shown["jobs"]))
        screen.console().print(Text(tables.counts_line(shown["counts"]), style="dim"))
    else:
        screen.write_columns([tables.COLUMNS, *(tables.cells(job) for job in shown["jobs"])])
    if shown["next_cursor"] and not as_json:
        screen.note(f"There are more: --cursor {shown['next_cursor']}")
    if shown["others"] and not as_json:
        screen.note(tables.others_line(shown))


async def _watch(wanted: ListJobs, as_json: bool) -> None:
    async with session.open_session(reading=True) as opened:
        changed = anyio.Event()

        def listen(event: Event) -> None:
            if isinstance(event, JobChanged):
                changed.set()

        opened.core.bus.subscribe(listen)
        origin = session.origin()
        view = _Table() if screen.on_terminal() and not as_json else _Lines(as_json)
        with view:
            while True:
                view.update(await opened.core.service.list(session.OWNER, wanted, origin=origin))
                with anyio.move_on_after(_TICK_S):
                    await changed.wait()
                changed = anyio.Event()


class _Table:
    """The living table of a terminal."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(console=screen.console(), auto_refresh=False)

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *problem: object) -> None:
        self._live.stop()

    def update(self, shown: JobObject) -> None:
        from rich.console import Group

        counts = Text(tables.counts_line(shown["counts"]) or "No jobs.", style="dim")
        others = Text(tables.others_line(shown) if shown["others"] else "", style="dim")
        self._live.update(Group(tables.table(shown["jobs"]), counts, others), refresh=True)


class _Lines:
    """One line for each change, for pipes and programs."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._seen: dict[str, Any] = {}

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, *problem: object) -> None:
        """Nothing to tidy."""

    def update(self, shown: JobObject) -> None:
        for job in reversed(shown["jobs"]):
            state = (wording.status_of(job), json.dumps(job["progress"]))
            if self._seen.get(job["job_id"]) == state:
                continue
            self._seen[job["job_id"]] = state
            if self._as_json:
                screen.write_json(job)
            else:
                screen.write_line("  ".join(cell for cell in tables.cells(job) if cell))


async def _show(part: str, as_json: bool) -> None:
    async with session.open_session(reading=True) as opened:
        job_id = await opened.id_of(part)
        wanted = CheckJob(job_id=job_id, tail_lines=_SHOWN_LINES)
        shown = await opened.core.service.check(session.OWNER, wanted)
        params = dict((await opened.core.service.find(session.OWNER, job_id)).params)
    if as_json:
        screen.write_json(shown)
        return
    screen.write_line(f"{shown['job_id']}  {wording.title_of(shown)}", "bold")
    _facts(shown)
    _fact("params", visible(json.dumps(params, ensure_ascii=False)))
    _result(shown)
    _attempts(shown.get("attempts") or ())
    for question in shown.get("questions") or ():
        _question(question["message"])
        _fact("answer by", f"mcp-jobs approve {shown['job_id']}")
    _output(shown["output"])


def _starts_later(shown: JobObject) -> bool:
    return wording.start_of(shown).startswith("in ")


def _facts(shown: JobObject) -> None:
    _fact("status", wording.status_of(shown), wording.STYLES[shown["status"]])
    if shown["error"]:
        _fact("error", screen.clean(shown["error"]))
    _order(shown)
    for name, key in _FACTS:
        if shown[key] is not None:
            _fact(name, screen.clean(str(shown[key])))
    for name, key in _MOMENTS:
        if shown[key] is None or (key == "run_at" and not _starts_later(shown)):
            continue
        _fact(name, f"{wording.local(shown[key])} ({wording.ago(shown[key])})")
    if shown["duration_seconds"] is not None:
        _fact("time", wording.span(shown["duration_seconds"]))
    if shown["quiet_seconds"] is not None:
        _fact("quiet for", wording.span(shown["quiet_seconds"]))
    if shown["max_attempts"] > 1:
        _fact("attempt", f"{shown['attempt']} of {shown['max_attempts']}")
    if wording.progress_of(shown):
        _fact("progress", wording.progress_of(shown))


def _order(shown: JobObject) -> None:
    """Write what decides when it begins."""
    for name, told in (
        ("waits for", wording.wait_of(shown)),
        ("priority", str(shown["priority"] or "")),
        ("locks", screen.clean(", ".join(shown["locks"]))),
        ("after", ", ".join(shown["after"])),
    ):
        if told:
            _fact(name, told)


def _result(shown: JobObject) -> None:
    tests = summary_in(shown["result"])
    if tests is not None:
        _fact("tests", f"{counted_tests(tests)} ({screen.clean(str(tests.get('runner')))})")
        for name in wording.failing_tests(shown, most=20):
            _fact("", name)
    elif shown["result"] is not None:
        _fact("result", screen.clean(json.dumps(shown["result"], ensure_ascii=False)))


def _attempts(attempts: Sequence[JobObject]) -> None:
    if not attempts:
        return
    screen.write_columns([_ATTEMPT_COLUMNS, *map(_attempt_cells, attempts)], indent="  ")


def _attempt_cells(attempt: JobObject) -> tuple[str, ...]:
    started, ended = attempt["started_at"], attempt["finished_at"]
    end = attempt["reason"] or "completed"
    code = attempt["exit_code"]
    cpu_s, peak_bytes = attempt["cpu_seconds"], attempt["memory_peak_bytes"]
    return (
        str(attempt["attempt"]),
        wording.local(started) if started else "",
        wording.local(ended),
        f"{end} ({code})" if end == "exit_code" else str(end),
        "" if cpu_s is None else wording.span(cpu_s),
        "" if peak_bytes is None else f"{peak_bytes / _MIB:.0f} MiB",
    )


def _question(message: str) -> None:
    first, *rest = message.split("\n")
    _fact("asks", visible(first), wording.STYLES["input_required"])
    for line in rest:
        _fact("", visible(line))


def _fact(name: str, value: str, style: str = "") -> None:
    screen.write_line(f"  {name + ':' if name else '':<14}{value}", style)


def _output(output: JobObject) -> None:
    if not output["text"]:
        return
    title = f"output, last lines of {output['bytes_total']} bytes"
    screen.write_line(f"  {title}:", "dim")
    for line in output["text"].splitlines():
        screen.write_line(f"    {screen.clean(line)}")


async def _types(as_json: bool) -> None:
    async with session.open_session(reading=True) as opened:
        found = [_type_object(job_type) for job_type in opened.core.registry.types().values()]
    if as_json:
        screen.write_json(found)
        return
    for shown in found:
        screen.write_line(shown["name"], "bold")
        screen.write_line(f"  {screen.clean(shown['description'])}")
        required = shown["params"].get("required", ())
        for name, field in shown["params"].get("properties", {}).items():
            needed = "required" if name in required else "optional"
            about = screen.clean(str(field.get("description", "")))
            screen.write_line(f"    {name} ({needed}): {about}".rstrip(": "))


def _type_object(job_type: JobType) -> JobObject:
    return {
        "name": job_type.name,
        "description": job_type.description,
        "params": dict(job_type.params.schema()),
    }
