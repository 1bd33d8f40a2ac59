"""The commands by their names, and what happens when one fails."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from mcp_jobs import __version__
from mcp_jobs.domain import display
from mcp_jobs.domain.errors import known
from mcp_jobs.interfaces import log_format
from mcp_jobs.interfaces.cli import (
    approve,
    cancel,
    doctor,
    init,
    install,
    logs,
    schedule,
    screen,
    session,
    show,
    start,
    trust,
    user_service,
    wait,
)
from mcp_jobs.interfaces.cli.exits import INTERRUPTED, OK, code_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_ABOUT: Final = """\
Background jobs for AI agents.

Without a command, and launched by a host, it is an MCP server over stdio. On a terminal it shows \
what the agents have started, and acts on it."""

_FIRST_STEPS: Final = """\
mcp-jobs runs background jobs for AI agents. A host (Claude Code, Codex, VS Code, ...) starts it
without arguments, as an MCP server over stdio. You are on a terminal, so here is what you can do:

  mcp-jobs install HOST        write the configuration of a host (claude-code, codex, vscode, ...)
  mcp-jobs doctor              see whether everything works here
  mcp-jobs list --watch        watch what the agents run
  mcp-jobs logs -f JOB         read what a job prints
  mcp-jobs start -- make test  start a job yourself; wait JOB, cancel JOB
  mcp-jobs --help              all commands
"""


def main(arguments: list[str], plain_commands: Mapping[str, str]) -> int:
    """Run a command and return its exit code; every known problem is one sentence on stderr.

    `plain_commands` are those that this command line only names in its help.
    """
    # Output of jobs and names of files may be any bytes.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    log_format.to_stderr()
    if not arguments and not _completing():
        sys.stdout.write(_FIRST_STEPS)
        return OK
    try:
        return _run(arguments, plain_commands)
    except BaseException as error:  # noqa: BLE001 - what is no known problem is raised again
        return _problem(error)


def application(plain_commands: Mapping[str, str]) -> typer.Typer:
    """Return the command line."""
    # Boxes and colours are for terminals alone.
    style: Literal["rich"] | None = "rich" if screen.on_terminal() else None
    also = "".join(f"\n\n{name}: {text}" for name, text in plain_commands.items())
    app = typer.Typer(
        name="mcp-jobs",
        help=_ABOUT,
        epilog=f"Also:{also}" if also else None,
        invoke_without_command=True,
        rich_markup_mode=style,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_top)
    as_written = {"allow_interspersed_args": False}
    app.command("start", context_settings=as_written)(start.start)
    app.command("list")(show.list_jobs)
    app.command("show")(show.show)
    app.command("logs")(logs.logs)
    app.command("wait")(wait.wait)
    app.command("cancel")(cancel.cancel)
    app.command("retry")(start.retry)
    app.command("types")(show.types)
    app.command("prune")(cancel.prune)
    app.command("approve")(approve.approve)
    app.command("doctor")(doctor.doctor)
    app.command("init")(init.init)
    app.command("trust")(trust.trust)
    app.command("install")(install.install)
    app.add_typer(schedule.commands(), name="schedule")
    app.add_typer(user_service.commands(), name="service")
    return app


def _top(
    app: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME", help="Python jobs to know as well (or /path/to/file.py:NAME)."
        ),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A file of job types; nothing else is searched then."),
    ] = None,
    only_declared: Annotated[bool, typer.Option("--only-declared", help="Refuse shell.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    session.choose({"app": app, "config": config, "only_declared": only_declared})
    if version:
        screen.write_line(f"mcp-jobs {__version__}")
        raise typer.Exit


def _run(arguments: list[str], plain_commands: Mapping[str, str]) -> int:
    try:
        application(plain_commands)(arguments, prog_name="mcp-jobs")
    except SystemExit as end:
        # How typer ends every command, also those that went well.
        return end.code if isinstance(end.code, int) else OK
    finally:
        sys.stdout.flush()
    return OK


def _completing() -> bool:
    from mcp_jobs import settings

    return settings.completing()


def _problem(error: BaseException) -> int:
    """Say what went wrong, also inside a task group; a fault of ours is raised again."""
    if _holds(error, KeyboardInterrupt):
        return INTERRUPTED
    if _holds(error, BrokenPipeError):
        return _reader_gone()
    problem = known(error)
    if problem is None:
        raise error
    sys.stderr.write(f"mcp-jobs: {display.lines(str(problem))}\n")
    return code_of(problem)


def _holds(error: BaseException, kind: type[BaseException]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(kind) is not None
    return isinstance(error, kind)


def _reader_gone() -> int:
    """Whoever read our output has enough (head, less): not an error of ours."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
    return OK
