"""The command `mcp-jobs`: serve MCP over stdio."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from mcp_jobs import __version__
from mcp_jobs.errors import JobsError, UnsupportedPlatformError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_jobs.definitions import JobSet
    from mcp_jobs.settings import Settings


def main() -> None:
    """Run the command line; every known problem is one sentence on stderr and exit code 1."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.command is None and sys.stdin.isatty():
        # A person, not a host.
        parser.print_help()
        return
    _guarded(lambda: _run(arguments))


def serve(jobs: JobSet) -> None:
    """Serve Python jobs over stdio, as `mcp-jobs` does the built-in ones."""

    def run() -> None:
        import anyio

        from mcp_jobs.server.app import serve_stdio

        anyio.run(serve_stdio, _settings(), jobs)

    _guarded(run)


def _guarded(run: Callable[[], None]) -> None:
    """Run something; every known problem is one sentence on stderr and exit code 1."""
    try:
        _require_supported_platform()
        run()
    except JobsError as error:
        sys.exit(f"mcp-jobs: {error}")
    except BaseExceptionGroup as group:
        # What went wrong inside a task group comes wrapped.
        known = group.subgroup(JobsError)
        if known is None:
            raise
        sys.exit(f"mcp-jobs: {_first(known)}")
    sys.stdout.flush()
    # Past this point only threads that wait for nothing would be joined.
    os._exit(0)


def _first(group: BaseExceptionGroup[JobsError]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-jobs",
        description="Background jobs for AI agents. Without a command: an MCP server over stdio.",
        epilog="Started without arguments by an MCP host; see the README for each host.",
    )
    parser.add_argument("--version", action="version", version=f"mcp-jobs {__version__}")
    parser.add_argument(
        "--app", metavar="MODULE:NAME", help="serve the Python jobs of this Jobs object too"
    )
    parser.add_argument(
        "--config",
        action="append",
        metavar="FILE",
        help="a file of job types; can be given several times, nothing else is searched then",
    )
    parser.add_argument(
        "--only-declared",
        action="store_true",
        default=None,
        help="refuse shell: only declared job types can be started",
    )
    parser.add_argument(
        "--channel",
        action="store_true",
        default=None,
        help="tell Claude Code of ends as channel events (a research preview)",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    worker = commands.add_parser("worker", help="run jobs of this home, without MCP")
    worker.add_argument("--drain", action="store_true", help="end when no job is left")
    return parser


def _require_supported_platform() -> None:
    # Before anything is imported that Windows does not have.
    if sys.platform == "win32":
        raise UnsupportedPlatformError(
            "mcp-jobs runs on Linux and macOS; on Windows, run it inside WSL."
        )


def _run(arguments: argparse.Namespace) -> None:
    import anyio

    loaded = _settings(**_overrides(arguments))
    if arguments.command == "worker":
        from mcp_jobs.worker import work

        anyio.run(work, loaded, arguments.drain)
    else:
        from mcp_jobs.server.app import serve_stdio

        anyio.run(serve_stdio, loaded)


def _settings(**flags: Any) -> Settings:
    from mcp_jobs import settings

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="mcp-jobs: %(message)s")
    return settings.load(**flags)


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the command line names; they win over the environment."""
    names = ("app", "config", "only_declared", "channel")
    named = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in named.items() if value is not None}


if __name__ == "__main__":
    main()
