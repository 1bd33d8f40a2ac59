"""Run a command as a background job and wait for its end: `minimal_client.py COMMAND...`."""

from __future__ import annotations

import os
import shlex
import sys

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters


async def main(command: list[str]) -> bool:
    # The client passes on only a few variables by itself; the job gets what the server has.
    server = StdioServerParameters(
        command=sys.executable, args=["-P", "-m", "mcp_jobs"], env=dict(os.environ)
    )
    async with Client(server) as client:
        params = {"command": shlex.join(command)}
        started = await client.call_tool("start_job", {"params": params, "cwd": os.getcwd()})
        job = started.structured_content or sys.exit(str(started.content))
        print(f"started {job['job_id']}", file=sys.stderr)
        while not job["finished_at"]:
            waiting = {"job_id": job["job_id"], "wait_seconds": 50}
            checked = await client.call_tool("check_job", waiting)
            job = checked.structured_content or sys.exit(str(checked.content))
        print(job["output"]["text"], end="")
        print(f"{job['status']}: {job['error'] or 'exit code 0'}", file=sys.stderr)
        return bool(job["status"] == "completed")


if __name__ == "__main__":
    sys.exit(0 if anyio.run(main, sys.argv[1:]) else 1)
