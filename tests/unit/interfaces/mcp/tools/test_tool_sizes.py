"""What every agent carries in its context from the first turn on stays small."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mcp_jobs.execution.shells import Shells
from mcp_jobs.interfaces.mcp.tools import job_tools
from mcp_jobs.job_types.registry import shell_type

if TYPE_CHECKING:
    from mcp_types import Tool

MOST_CHARS = 6000


def sent(tool: Tool) -> str:
    """Return what tools/list says of a tool that a model is shown, as compact JSON."""
    told = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    shown = {name: told[name] for name in ("name", "description", "inputSchema")}
    return json.dumps(shown, separators=(",", ":"), ensure_ascii=False)


def test_names_descriptions_and_input_schemas_of_all_tools_fit_into_a_few_pages() -> None:
    shells = Shells(default="bash", bash="/bin/bash")
    tools = job_tools.builtin({"shell": shell_type(shells)})
    assert [tool.name for tool in tools] == ["start_job", "check_job", "cancel_job", "list_jobs"]
    sizes = {tool.name: len(sent(tool)) for tool in tools}
    assert sum(sizes.values()) <= MOST_CHARS, sizes
