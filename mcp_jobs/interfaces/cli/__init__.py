"""The command line for people: look at jobs, act on them, set hosts up.

Nothing here is imported when a host starts the server, nor by `mcp-jobs worker`.
"""

from __future__ import annotations

from mcp_jobs.interfaces.cli.commands import main

__all__ = ["main"]
