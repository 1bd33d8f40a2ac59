"""Which versions work together here."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from mcp_jobs import __version__
from mcp_jobs.interfaces.cli.doctor.findings import Finding, fine, warning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def check() -> AsyncIterator[Finding]:
    """Look at the versions and the platform."""
    sdk = metadata.version("mcp")
    python = platform.python_version()
    text = f"mcp-jobs {__version__}, Python {python}, MCP SDK {sdk}, {platform.platform()}"
    yield fine("versions", text)
    if sys.platform not in ("linux", "darwin"):
        yield warning(
            "platform", f"{sys.platform} is not tested.", "Use Linux or macOS (WSL is Linux)."
        )
