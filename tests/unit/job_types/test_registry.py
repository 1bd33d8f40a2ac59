"""What every start of a job asks of its type costs little, and spoils nothing for the next one."""

from __future__ import annotations

import copy

from mcp_jobs.domain import secrecy
from mcp_jobs.execution.shells import Shells
from mcp_jobs.interfaces.mcp.tools import type_tools
from mcp_jobs.job_types.registry import shell_type


def test_the_schema_is_made_once_and_left_as_it_is_by_those_who_use_it() -> None:
    job_type = shell_type(Shells(default="sh", bash=None))
    schema = job_type.params.schema()
    before = copy.deepcopy(schema)

    secrecy.hidden(schema, {"command": "true"})
    tool = type_tools.tool_of(job_type)
    tool.input_schema["properties"].clear()

    assert job_type.params.schema() is schema
    assert schema == before
