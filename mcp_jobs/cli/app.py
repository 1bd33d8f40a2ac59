"""The commands by their names, and what happens when one fails."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from mcp_jobs import __version__
from mcp_jobs.cli import (
    acting,
    approving,
    doctor,
    install,
    logs,
    looking,
    scaffold,
    screen,
    starting,
    waiting,
)
from mcp_jobs.cli.exits import FAILED, INTERRUPTED, OK, code_of
from mcp_jobs.errors import JobsError

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
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="mcp-jobs: %(message)s")
    if not arguments and not _completing():
        sys.stdout.write(_FIRST_STEPS)
        return OK
    try:
        return _run(arguments, plain_commands)
    except JobsError as error:
        return _problem(error)
    except BaseExceptionGroup as group:
        # What went wrong inside a task group comes wrapped.
        return _of_group(group)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        sys.stderr.write(f"mcp-jobs: The files of mcp-jobs cannot be used: {error}.\n")
        return FAILED


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
    app.command("start", context_settings=as_written)(starting.start)
    app.command("list")(looking.list_jobs)
    app.command("show")(looking.show)
    app.command("logs")(logs.logs)
    app.command("wait")(waiting.wait)
    app.command("cancel")(acting.cancel)
    app.command("retry")(starting.retry)
    app.command("types")(looking.types)
    app.command("prune")(acting.prune)
    app.command("approve")(approving.approve)
    app.command("doctor")(doctor.doctor)
    app.command("init")(scaffold.init)
    app.command("install")(install.install)
    return app


def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
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


def _problem(error: JobsError) -> int:
    sys.stderr.write(f"mcp-jobs: {error}\n")
    return code_of(error)


def _of_group(group: BaseExceptionGroup[BaseException]) -> int:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, JobsError):
        return _problem(error)
    if isinstance(error, BrokenPipeError):
        return _reader_gone()
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    raise group


def _reader_gone() -> int:
    """Whoever read our output has enough (head, less): not an error of ours."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
    return OK
