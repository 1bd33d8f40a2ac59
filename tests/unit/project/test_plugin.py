"""The plugin for Claude Code is made of what the package has, and of nothing else."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs import __version__
from mcp_jobs.interfaces.cli.hosts.known_hosts import HOSTS
from mcp_jobs.interfaces.hooks import claude_code
from scripts import plugin
from tests.unit.project.test_docs import TOOLS

if TYPE_CHECKING:
    from pathlib import Path

FILES = plugin.contents()


def parsed(name: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(FILES[name])
    return shown


def test_it_is_a_plugin_and_a_marketplace_that_offers_it() -> None:
    manifest = parsed(".claude-plugin/plugin.json")
    market = parsed(".claude-plugin/marketplace.json")
    assert (manifest["name"], manifest["version"]) == ("mcp-jobs", __version__)
    assert [(offer["name"], offer["source"]) for offer in market["plugins"]] == [("mcp-jobs", "./")]


def test_its_server_is_what_install_writes() -> None:
    entry = HOSTS["claude-code"].entry(["mcp-jobs"], {})
    assert parsed(".mcp.json") == {"mcpServers": {"jobs": entry}}
    assert entry["alwaysLoad"] is True


def test_its_hooks_call_mcp_jobs_and_a_stop_has_longer_than_it_waits() -> None:
    hooks = parsed("hooks/hooks.json")["hooks"]
    assert sorted(hooks) == ["PostToolUse", "SessionStart", "Stop"]
    each = [hook for (entry,) in hooks.values() for hook in entry["hooks"]]
    assert {hook["command"] for hook in each} == {"mcp-jobs hook claude-code 2>/dev/null || :"}
    ((stop,),) = (entry["hooks"] for entry in hooks["Stop"])
    assert stop["timeout"] > claude_code.WAIT_S + 30


@pytest.mark.parametrize(
    ("tool", "ours"),
    [
        *((f"mcp__plugin_mcp-jobs_jobs__{name}", True) for name in (*TOOLS, "build")),
        ("mcp__jobs__start_job", True),
        ("mcp__other__start_job", False),
        ("Bash", False),
    ],
)
def test_the_tools_that_are_noted_are_those_of_the_server(tool: str, ours: bool) -> None:
    (entry,) = parsed("hooks/hooks.json")["hooks"]["PostToolUse"]
    assert (re.fullmatch(entry["matcher"], tool) is not None) is ours


def test_its_skill_is_named_as_its_folder_and_says_when() -> None:
    text = FILES["skills/background-jobs/SKILL.md"]
    head = re.match(r"---\nname: (\S+)\ndescription: (.+)\n---\n", text)
    assert head is not None
    assert head[1] == "background-jobs"
    assert len(head[2]) <= 1024  # what a skill's description may have
    assert set(re.findall(r"`(\w+_jobs?)`", text)) == set(TOOLS)


def test_it_is_written_whole_and_what_was_there_goes(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "old").touch()
    written = plugin.write(tmp_path / "p")
    found = {str(p.relative_to(written)): p for p in written.rglob("*") if p.is_file()}
    assert {name: path.read_text("utf-8") for name, path in found.items()} == FILES
