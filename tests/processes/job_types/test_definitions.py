"""What the definitions of Python jobs load, and what is said of a wrong one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_command_line_tells_it_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mcp_jobs", "--app", "no_such_module:jobs"]
    environ = {"MCP_JOBS_HOME": str(tmp_path / "home"), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        command, env=environ, stdin=subprocess.PIPE, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith("mcp-jobs: The app 'no_such_module:jobs' cannot be imported")
    assert len(done.stderr.splitlines()) == 1


def test_the_names_for_a_job_load_only_the_standard_library() -> None:
    code = (
        "import sys; from mcp_jobs import Jobs, JobContext, Retry, RetryableError;"
        "import mcp_jobs.job_types.python.child;"
        "print(sorted({'mcp', 'pydantic', 'anyio', 'aiosqlite'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
