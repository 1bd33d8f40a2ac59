"""Tools made from job types: a call is a start of that type, with the parameters as arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp_types import Tool, ToolAnnotations, ToolExecution

from mcp_jobs.requests import WAIT_LIMIT_S, StartJob
from mcp_jobs.server import schemas

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mcp_jobs.registry import JobType
    from mcp_jobs.service import JobService

_DESCRIPTION_CHARS: Final = 1000

_AS_TASK: Final = ToolExecution(task_support="optional")
_STARTS: Final = "Starts a background job and returns its job_id at once; check_job waits for it."
_WAITS: Final = "Waits for the result."


class Exposed:
    """The job types that are tools too, made into tools again when the types change."""

    def __init__(self, service: JobService, *, taken: Collection[str]) -> None:
        self._service = service
        self._taken = frozenset(taken)
        """Names of other tools, which a job type cannot have as a tool."""
        self._seen: Mapping[str, JobType] | None = None
        self._exposed: dict[str, tuple[JobType, Tool]] = {}

    def tools(self) -> list[Tool]:
        """Return the tools that there are now."""
        return [tool for _, tool in self._looked().values()]

    def get(self, name: str) -> JobType | None:
        """Return the job type behind a tool; None when there is no such tool."""
        found = self._looked().get(name)
        return None if found is None else found[0]

    def _looked(self) -> dict[str, tuple[JobType, Tool]]:
        types = self._service.types()
        if types is not self._seen:
            self._seen = types
            self._exposed = {
                name: (job_type, _tool(job_type))
                for name, job_type in types.items()
                if job_type.expose and name not in self._taken
            }
        return self._exposed


def start_of(job_type: JobType, arguments: Mapping[str, Any]) -> StartJob:
    """Return the start that a call of the tool is."""
    wait_s = WAIT_LIMIT_S if job_type.tasks == "never" else 0
    return StartJob(type=job_type.name, params=dict(arguments), wait_seconds=wait_s)


def _tool(job_type: JobType) -> Tool:
    about = job_type.description.strip()[:_DESCRIPTION_CHARS]
    how = _WAITS if job_type.tasks == "never" else _STARTS
    hints = job_type.annotations
    return Tool(
        name=job_type.name,
        title=job_type.name.replace("_", " ").capitalize(),
        description=f"{about}\n{how}",
        input_schema=_input_schema(job_type),
        output_schema=schemas.JOB_RESULT,
        annotations=ToolAnnotations(
            read_only_hint=hints.get("read_only", False),
            destructive_hint=hints.get("destructive", True),
            idempotent_hint=hints.get("idempotent", False),
            open_world_hint=hints.get("open_world", True),
        ),
        execution=None if job_type.tasks == "never" else _AS_TASK,
    )


def _input_schema(job_type: JobType) -> dict[str, Any]:
    """Return the parameters' schema; what a person can be asked for may be left out."""
    schema = schemas.simplified(job_type.params.schema())
    required = [name for name in schema.get("required", ()) if name not in job_type.ask_for]
    return {**schema, "type": "object", "required": required}
