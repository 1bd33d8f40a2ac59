"""Make the plugin for Claude Code: `make plugin`, or `python -m scripts.plugin [DIRECTORY]`.

The directory is a plugin (https://code.claude.com/docs/en/plugins-reference) and at the same time a
marketplace that offers it. Everything in it is made of what the package has: the server's entry
that `mcp-jobs install` writes, the skill, and the hooks that `mcp-jobs hook` answers. Prints the
path of the directory, whose former content goes.
"""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

from mcp_jobs.interfaces.cli.hosts.known_hosts import HOSTS
from mcp_jobs.interfaces.hooks.claude_code import HOST, STOP_TIMEOUT_S
from scripts.bundle import version

ROOT: Final = Path(__file__).resolve().parent.parent
NAME: Final = "mcp-jobs"
SERVER: Final = "jobs"
SKILLS: Final = ROOT / "mcp_jobs" / "interfaces" / "hooks" / "skills"
COMMAND: Final = f"{NAME} hook {HOST} 2>/dev/null || :"
"""Where mcp-jobs is not installed, a session must not be disturbed by that."""

SHORT_S: Final = 10
TOOLS: Final = f"mcp__(plugin_{NAME}_)?{SERVER}__.*"
"""The tools of this plugin's server, and of the entry that `mcp-jobs install` writes."""


def manifest(project: dict[str, Any]) -> dict[str, Any]:
    """Return what the plugin is."""
    return {
        "name": NAME,
        "version": version(),
        "description": project["description"],
        "author": {"name": project["authors"][0]["name"]},
        "license": project["license"],
        "keywords": project["keywords"],
    }


def marketplace(project: dict[str, Any]) -> dict[str, Any]:
    """Return the marketplace that offers the plugin in the same directory."""
    told = {"name": NAME, "description": project["description"]}
    owner = {"name": project["authors"][0]["name"]}
    return {**told, "owner": owner, "plugins": [{**told, "source": "./"}]}


def hooks() -> dict[str, Any]:
    """Return which events are answered, and how long each may take, in seconds."""

    def answered(timeout_s: int, **more: str) -> list[dict[str, Any]]:
        return [{**more, "hooks": [{"type": "command", "command": COMMAND, "timeout": timeout_s}]}]

    return {
        "hooks": {
            "SessionStart": answered(SHORT_S),
            "PostToolUse": answered(SHORT_S, matcher=TOOLS),
            "Stop": answered(STOP_TIMEOUT_S),
        }
    }


def contents() -> dict[str, str]:
    """Return the files of the plugin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    objects = {
        ".claude-plugin/plugin.json": manifest(project),
        ".claude-plugin/marketplace.json": marketplace(project),
        ".mcp.json": {"mcpServers": {SERVER: HOSTS[HOST].entry([NAME], {})}},
        "hooks/hooks.json": hooks(),
    }
    made = {name: json.dumps(value, indent=2) + "\n" for name, value in objects.items()}
    skills = sorted(SKILLS.rglob("*.md"))
    texts = {f"skills/{path.relative_to(SKILLS)}": path.read_text("utf-8") for path in skills}
    return {**made, **texts}


def write(directory: Path) -> Path:
    """Write the plugin and return its directory."""
    shutil.rmtree(directory, ignore_errors=True)
    for name, text in contents().items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return directory


if __name__ == "__main__":
    print(write(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / "claude-plugin"))
