"""Attempts that are made by the launcher alone, without a store or a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mcp_jobs.domain.models import Launch
from mcp_jobs.execution import job_directory, launcher_client
from mcp_jobs.execution.host import runtime_directory
from mcp_jobs.execution.incarnation import identify
from tests.support import Place


def client_of(place: Place, idle_s: float = 0.2) -> launcher_client.LauncherClient:
    return launcher_client.LauncherClient(
        home=place.home,
        home_id=identify(place.home).home_id,
        runtime_dir=runtime_directory,
        idle_s=idle_s,
    )


def make_job(place: Place, command: str, name: str = "one") -> Path:
    """Make what an attempt needs; the one before it has taken its part away."""
    job_dir = place.home / name
    job_directory.make_ready(
        job_dir,
        Launch(
            argv=("/bin/sh", "-c", command),
            cwd=str(place.project),
            umask=0o022,
            environ={"PATH": os.defpath},
            secrets=(),
            rlimit_nofile=None,
        ),
    )
    return job_dir


def request_for(job_dir: Path, token: int) -> launcher_client.LaunchRequest:
    return launcher_client.LaunchRequest(
        job_id="one",
        home_id="home",
        job_dir=str(job_dir),
        token=token,
        attempt=1,
        timeout_s=None,
        idle_timeout_s=None,
        grace_s=1.0,
        output_cap_bytes=1 << 20,
    )


async def run_attempt(
    client: launcher_client.LauncherClient, request: launcher_client.LaunchRequest
) -> bool:
    """Run an attempt to its end; False when it was refused."""
    link = await client.run(request)
    if link is None:
        return False
    await link.wait_closed()
    link.close()
    return True


def fields(request: launcher_client.LaunchRequest) -> dict[str, Any]:
    """Return what is sent of a request."""
    return {name: getattr(request, name) for name in request.__slots__}
