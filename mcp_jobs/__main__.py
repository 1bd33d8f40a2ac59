"""The command `mcp-jobs`: serve MCP over stdio."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from mcp_jobs import __version__
from mcp_jobs.errors import JobsError, UnsupportedPlatformError


def main() -> None:
    """Run the command line; every known problem is one sentence on stderr and exit code 1."""
    _arguments()
    try:
        _require_supported_platform()
        _serve()
    except JobsError as error:
        sys.exit(f"mcp-jobs: {error}")
    sys.stdout.flush()
    # Past this point only threads that wait for nothing would be joined.
    os._exit(0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mcp-jobs",
        description="Background jobs for AI agents, as an MCP server over stdio.",
        epilog="Started without arguments by an MCP host; see the README for each host.",
    )
    parser.add_argument("--version", action="version", version=f"mcp-jobs {__version__}")
    return parser.parse_args()


def _require_supported_platform() -> None:
    # Before anything is imported that Windows does not have.
    if sys.platform == "win32":
        raise UnsupportedPlatformError(
            "mcp-jobs runs on Linux and macOS; on Windows, run it inside WSL."
        )


def _serve() -> None:
    from mcp_jobs import settings

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="mcp-jobs: %(message)s")
    loaded = settings.load()
    import anyio

    from mcp_jobs.server.app import serve_stdio

    anyio.run(serve_stdio, loaded)


if __name__ == "__main__":
    main()
