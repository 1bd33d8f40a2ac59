"""The command `mcp-jobs`: serve MCP over stdio, or hand over to the command line for people.

What serves or works is parsed here, by argparse alone; `interfaces.cli` and what it needs are
imported only for the commands that people type.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` puts the working directory first, and an agent's project is no place for modules.
    del sys.path[0]

from mcp_jobs.job_types.python import import_path

if not sys.flags.ignore_environment:
    import_path.leave_out_relative()

import os
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs import __version__
from mcp_jobs.domain.errors import (
    InvalidInputError,
    JobsError,
    NewerSchemaError,
    UnsupportedPlatformError,
    known,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from mcp_jobs.job_types.python.definitions import JobSet
    from mcp_jobs.settings import Settings

PLAIN_COMMANDS: Final = {
    "worker": "run the jobs of this home, without serving MCP",
    "serve": "serve MCP, REST and live events over HTTP",
    "token": "print the token of this home, or manage named ones",
    "hook": "answer an event of a host, as its plugins call it",
}
"""Commands that argparse knows; every other one is the command line's for people."""

_INTERRUPTED: Final = 130
"""The exit code of what a SIGINT ended."""

_CONFIG_HELP: Final = (
    "a file of job types; can be given several times, nothing else is searched then"
)
_WITH_VALUE: Final = ("--app", "--config")
_BEFORE_COMMANDS: Final = ("--app=", "--config=", "--only-declared")
_FOR_PEOPLE: Final = ("-h", "--help", "--install-completion", "--show-completion")


def main() -> None:
    """Run the command line; every known problem is one sentence on stderr and exit code 1."""
    _guarded(_chosen)


def serve(jobs: JobSet) -> None:
    """Serve Python jobs over stdio, as `mcp-jobs` does the built-in ones."""

    def run() -> int:
        from mcp_jobs.interfaces import event_loop
        from mcp_jobs.interfaces.mcp.server import serve_stdio

        event_loop.run(serve_stdio, _settings(), jobs)
        return 0

    _guarded(run)


def _chosen() -> int:
    if _is_for_people(sys.argv[1:]):
        from mcp_jobs.interfaces import cli

        return cli.main(sys.argv[1:], PLAIN_COMMANDS)
    _run(_parser().parse_args())
    return 0


def _guarded(run: Callable[[], int]) -> None:
    """Run something and leave with its exit code; a known problem is a sentence on stderr.

    What runs takes SIGINT itself as soon as it can; until then, as in the half second in which the
    SDK is imported, it just ends.
    """
    try:
        _require_supported_platform()
        code = run()
    except (KeyboardInterrupt, JobsError, OSError, MemoryError, BaseExceptionGroup) as error:
        if not _is_interrupt(error):
            # What went wrong inside a task group comes wrapped.
            problem = known(error)
            if problem is None:
                raise
            sys.exit(f"mcp-jobs: {problem}")
        code = _INTERRUPTED
    sys.stdout.flush()
    # Past this point only threads that wait for nothing would be joined.
    os._exit(code)


def _is_interrupt(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)


def _is_for_people(arguments: list[str]) -> bool:
    """Say whether a person typed this; a host gives no command and has a pipe for stdin."""
    if not arguments:
        from mcp_jobs import settings

        return settings.completing() or (sys.stdin is not None and sys.stdin.isatty())
    command = _command_in(arguments)
    if command is None:
        return arguments[0] in _FOR_PEOPLE
    return command not in PLAIN_COMMANDS


def _command_in(arguments: list[str]) -> str | None:
    """Return the command, which options may precede that all commands take."""
    rest = iter(arguments)
    for argument in rest:
        if argument in _WITH_VALUE:
            next(rest, None)
        elif not argument.startswith(_BEFORE_COMMANDS):
            return None if argument.startswith("-") else argument
    return None


def _parser() -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser(
        prog="mcp-jobs",
        description="Background jobs for AI agents. Without a command: an MCP server over stdio.",
        epilog="MCP hosts start it without arguments; `mcp-jobs install HOST` sets one up.",
    )
    parser.add_argument("--version", action="version", version=f"mcp-jobs {__version__}")
    parser.add_argument(
        "--app",
        metavar="MODULE:NAME",
        help="serve the Python jobs of this Jobs object too (or /path/to/file.py:NAME)",
    )
    parser.add_argument(
        "--config",
        action="append",
        metavar="FILE",
        help=_CONFIG_HELP,
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
        help="tell Claude Code of ended jobs by channel events (a research preview)",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    worker = commands.add_parser("worker", help=PLAIN_COMMANDS["worker"])
    worker.add_argument("--drain", action="store_true", help="exit when no job is left")
    _add_serve(commands.add_parser("serve", help=PLAIN_COMMANDS["serve"]))
    _add_token(commands.add_parser("token", help=PLAIN_COMMANDS["token"]))
    hook = commands.add_parser("hook", help=PLAIN_COMMANDS["hook"])
    hook.add_argument("host", help="the host that calls")
    return parser


def _add_serve(serve: argparse.ArgumentParser) -> None:
    from argparse import SUPPRESS

    serve.add_argument("--http", action="store_true", required=True, help="the way to serve")
    serve.add_argument("--host", help="address to bind to; default 127.0.0.1")
    serve.add_argument("--port", type=int, help="port; default 8765")
    # Suppressed: an option that was given before the command must not be overwritten.
    serve.add_argument(
        "--config", action="append", metavar="FILE", default=SUPPRESS, help=_CONFIG_HELP
    )
    serve.add_argument(
        "--only-declared",
        action="store_true",
        default=SUPPRESS,
        help="refuse shell; needed for tokens of several owners",
    )
    serve.add_argument("--oidc-issuer", help="accept access tokens of this issuer too")
    serve.add_argument("--oidc-audience", help="the URL of this server's /mcp, as tokens name it")


def _add_token(token: argparse.ArgumentParser) -> None:
    changes = token.add_subparsers(dest="change", metavar="CHANGE")
    add = changes.add_parser("add", help="create a named token and print it once")
    add.add_argument("name")
    add.add_argument("--owner", help="whose jobs it sees; default: an owner with the token's name")
    add.add_argument(
        "--scopes",
        default="read,start,cancel",
        help="comma-separated: read, start, cancel, metrics, admin",
    )
    remove = changes.add_parser("remove", help="revoke a named token")
    remove.add_argument("name")
    changes.add_parser("list", help="list the named tokens, without the tokens themselves")


def _require_supported_platform() -> None:
    # Before anything is imported that Windows does not have.
    if sys.platform == "win32":
        raise UnsupportedPlatformError(
            "mcp-jobs runs on Linux and macOS; on Windows, run it inside WSL."
        )


def _run(arguments: argparse.Namespace) -> None:
    if arguments.command == "hook":
        # It loads the settings itself, as it must not fail when they are wrong.
        from mcp_jobs.interfaces.hooks import hook

        hook.run(arguments.host, _overrides(arguments))
        return
    from mcp_jobs.interfaces import event_loop

    loaded = _settings(**_overrides(arguments))
    if arguments.command == "token":
        _token(arguments, loaded)
    elif arguments.command == "serve":
        try:
            from mcp_jobs.interfaces.http.serve import serve_http
        except ImportError as error:
            raise InvalidInputError(
                f"Serving HTTP needs more packages ({error.name} is missing). Install "
                "mcp-jobs[http]."
            ) from None
        event_loop.run(serve_http, loaded)
    elif arguments.command == "worker":
        _work(loaded, arguments.drain)
    else:
        from mcp_jobs.interfaces.mcp.server import serve_stdio

        event_loop.run(serve_stdio, loaded)


def _work(loaded: Settings, drain: bool) -> None:
    from mcp_jobs.execution.launcher.drain_worker import REFUSED
    from mcp_jobs.interfaces import event_loop
    from mcp_jobs.interfaces.worker import work

    try:
        event_loop.run(work, loaded, drain)
    except NewerSchemaError as error:
        # A launcher that has started this must not do so again.
        sys.stderr.write(f"mcp-jobs: {error}\n")
        sys.exit(REFUSED)


def _settings(**flags: Any) -> Settings:
    from mcp_jobs import settings
    from mcp_jobs.interfaces import log_format

    log_format.to_stderr()
    return settings.load(**flags)


def _token(arguments: argparse.Namespace, loaded: Settings) -> None:
    from mcp_jobs.execution import host
    from mcp_jobs.interfaces.http.auth.tokens import TokenFile

    host.prepare_home(loaded)
    file = TokenFile(loaded.home)
    if arguments.change == "add":
        scopes = [scope.strip() for scope in arguments.scopes.split(",")]
        print(file.add(arguments.name, owner=arguments.owner, scopes=scopes))
    elif arguments.change == "remove":
        file.remove(arguments.name)
    elif arguments.change == "list":
        for token in file.load().named:
            print(f"{token.name}\towner {token.owner}\t{','.join(token.scopes)}")
    else:
        print(file.load().default)


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the command line names; they win over the environment."""
    flags = ("app", "config", "only_declared", "channel", "host", "port", "oidc_issuer")
    named = {name: getattr(arguments, name, None) for name in (*flags, "oidc_audience")}
    return {name: value for name, value in named.items() if value is not None}


if __name__ == "__main__":
    main()
