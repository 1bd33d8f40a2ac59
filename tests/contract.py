"""What every reply must keep, whichever test asked for it (DESIGN section 4)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import anyio
import jsonschema

from mcp_jobs.domain.job_object import ListedJob, OutputObject, ProgressObject
from mcp_jobs.interfaces.mcp.tools import schemas

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult

Job = dict[str, Any]

JOB_FIELDS: Final = ListedJob.__required_keys__
OUTPUT_FIELDS: Final = OutputObject.__required_keys__
PROGRESS_FIELDS: Final = ProgressObject.__required_keys__

_ALWAYS: Final = {
    "start_job": JOB_FIELDS | {"next_step"},
    "check_job": JOB_FIELDS | {"next_step", "output"},
    "cancel_job": JOB_FIELDS | {"next_step"},
}
_SOMETIMES: Final = {
    "start_job": {"existing", "output", "questions", "failing"},
    "check_job": {"attempts", "questions", "failing"},
    "cancel_job": {"output", "questions", "failing"},
}
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_TIMES: Final = ("created_at", "run_at", "started_at", "finished_at", "next_attempt_at")
_OUTPUT_SCHEMAS: Final = {
    "start_job": schemas.JOB_RESULT,
    "check_job": schemas.JOB_RESULT,
    "cancel_job": schemas.JOB_RESULT,
    "list_jobs": schemas.LIST_RESULT,
}


async def call(
    client: Client, tool: str, arguments: dict[str, Any] | None = None, **options: Any
) -> Job:
    """Call a tool that must succeed and keep its contract; return the structured content."""
    return accepted(tool, await client.call_tool(tool, arguments or {}, **options))


async def refused(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    """Call a tool that must refuse; return the text of the tool error."""
    return refusal(await client.call_tool(tool, arguments))


def accepted(tool: str, result: CallToolResult) -> Job:
    """Hold that a result is a success as its tool declares it.

    A start that tells of a failed end is an error, as the task of that start would be.
    """
    shown = result.structured_content
    assert isinstance(shown, dict), result.content
    assert result.is_error == (tool == "start_job" and shown["status"] == "failed"), result.content
    (block,) = result.content
    assert block.type == "text"
    check(tool, shown)
    if tool != "list_jobs":
        assert shown["job_id"] in block.text
        assert shown["status"] in block.text
    assert all(job["job_id"] in block.text for job in shown.get("jobs", ()))
    assert block.text
    return shown


def refusal(result: CallToolResult) -> str:
    """Hold that a result is a tool error for a person; return its text."""
    assert result.is_error, result.structured_content
    assert result.structured_content is None
    (block,) = result.content
    assert block.type == "text"
    assert 10 < len(block.text) < 3000
    for internal in ("Traceback", "pydantic", "sqlite", "Error(", "<class", "errors.pydantic.dev"):
        assert internal not in block.text
    return block.text


def check(tool: str, shown: Job) -> None:
    """Hold that structured content has its declared shape and exactly the designed fields."""
    jsonschema.validate(shown, _OUTPUT_SCHEMAS[tool])
    if tool == "list_jobs":
        assert set(shown) - {"notices", "warning"} == {"jobs", "next_cursor", "counts", "others"}
        for job in shown["jobs"]:
            assert set(job) == JOB_FIELDS
            check_job_object(job)
        return
    assert _ALWAYS[tool] <= set(shown) <= _ALWAYS[tool] | _SOMETIMES[tool] | {"notices", "warning"}
    check_job_object(shown)


def check_job_object(job: Job) -> None:
    """Hold what is true of a job object wherever it is shown."""
    for name in _TIMES:
        assert job[name] is None or _TIME.fullmatch(job[name]), (name, job[name])
    assert job["uri"] == f"jobs://job/{job['job_id']}"
    ended = job["status"] in ("completed", "failed", "cancelled")
    assert ended == (job["finished_at"] is not None)
    if job["status"] in ("failed", "cancelled"):
        assert job["reason"] is not None
    if job["progress"] is not None:
        assert set(job["progress"]) == PROGRESS_FIELDS
        assert _TIME.fullmatch(job["progress"]["updated_at"])
    if "output" in job:
        assert set(job["output"]) == OUTPUT_FIELDS
    assert job.get("existing", True) is True


async def start(client: Client, command: str, **arguments: Any) -> Job:
    """Start a shell job."""
    return await call(client, "start_job", {"params": {"command": command}, **arguments})


async def ended(client: Client, job_id: str, **arguments: Any) -> Job:
    """Wait for the end of a job and return it."""
    with anyio.fail_after(60):
        while True:
            ask = {"job_id": job_id, "wait_seconds": 20, **arguments}
            job = await call(client, "check_job", ask)
            if job["finished_at"]:
                return job


async def run(client: Client, command: str, **arguments: Any) -> Job:
    """Start a shell job and wait for its end."""
    job = await start(client, command, **arguments)
    return await ended(client, job["job_id"])
