"""Jobs in a server that their developer has built with the SDK."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mcp.server.mcpserver import MCPServer

from mcp_jobs import Jobs
from mcp_jobs.domain.errors import InvalidInputError
from tests import contract
from tests.support import ERAS, Place, open_client

if TYPE_CHECKING:
    from typing import Any

APP = Path(__file__).parents[1] / "python_app.py"
SERVER = """
from mcp.server.mcpserver import MCPServer
from tools import jobs

server = MCPServer("mine", lifespan=jobs.lifespan)
jobs.mount(server)

@server.tool()
def greet(name: str) -> str:
    return f"Hello {name}"

@server.resource("notes://today")
def today() -> str:
    return "nothing"

server.run()
"""


@pytest.mark.parametrize("mode", ERAS)
async def test_a_server_offers_jobs_beside_its_own_tools_and_resources(
    place: Place, mode: str
) -> None:
    shutil.copy(APP, place.root / "tools.py")
    script = place.root / "server.py"
    script.write_text(SERVER)
    async with open_client(place, mode, args=[str(script)]) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        greeting = await client.call_tool("greet", {"name": "you"})
        call: dict[str, Any] = {"type": "total", "params": {"numbers": [1]}, "wait_seconds": 20}
        job = await contract.call(client, "start_job", call)
        read = await client.read_resource(job["uri"])
        note = await client.read_resource("notes://today")
        resources = [str(r.uri) for r in (await client.list_resources()).resources]
        templates = (await client.list_resource_templates()).resource_templates

    assert tools == ["greet", "start_job", "check_job", "cancel_job", "list_jobs"]
    assert greeting.structured_content == {"result": "Hello you"}
    assert job["result"] == {"count": 1, "sum": 1.0}
    assert job["job_id"] in str(read.contents[0])
    assert "nothing" in str(note.contents[0])
    assert {"notes://today", "jobs://all", job["uri"]} <= {*resources}
    assert len(templates) == 2


def test_only_a_server_of_the_sdk_can_be_mounted_into() -> None:
    with pytest.raises(InvalidInputError, match="not into a dict"):
        Jobs("mine").mount({})


def test_mounting_does_not_touch_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MCP_JOBS_HOME", str(tmp_path / "home"))
    Jobs("mine").mount(MCPServer("mine"))

    assert not (tmp_path / "home").exists()
