"""The hosts: where each keeps its configuration, and what an entry looks like there.

docs/hosts.md has the source of each.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.settings import foreign_variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One program that launches MCP servers."""

    name: str
    title: str
    table: str
    """The member of the file that holds the servers."""
    entry: Callable[[Sequence[str], Mapping[str, str]], dict[str, Any]]
    """From a command and its variables to what the host wants to read."""
    user_file: Callable[[], Path]
    project_file: Callable[[], Path] | None
    """None: the host reads no servers from a project."""
    then: str
    """What to do next."""
    kept: frozenset[str] = frozenset()
    """Members of an entry that stay as a person has set them."""

    @property
    def toml(self) -> bool:
        """Whether the file is TOML; else it is JSON, with comments at that."""
        return self.user_file().suffix == ".toml"


def _common(command: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {"command": command[0], "args": list(command[1:])}
    return {**made, "env": dict(env)} if env else made


def _typed(command: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    return {"type": "stdio", **_common(command, env)}


def _claude_code(command: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    # Else the tools stand behind a search, and the first turn of `claude -p` has none of them.
    return {**_typed(command, env), "alwaysLoad": True}


def _opencode(command: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "local", "command": list(command), "enabled": True}
    return {**made, "environment": dict(env)} if env else made


def _home() -> Path:
    return Path.home()


def _config() -> Path:
    given = None if sys.platform == "darwin" else foreign_variable("XDG_CONFIG_HOME")
    return Path(given) if given and os.path.isabs(given) else _home() / ".config"


def _application(name: str) -> Path:
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support" / name
    return _config() / name


def _at(variable: str, default: Callable[[], Path], name: str) -> Path:
    given = foreign_variable(variable)
    return (Path(given) if given else default()) / name


def _here(*names: str) -> Callable[[], Path]:
    return lambda: Path.cwd().joinpath(*names)


def _existing(directory: Path, names: Sequence[str]) -> Path:
    """Return the first of the files that exists; else the first."""
    for name in names:
        if (directory / name).exists():
            return directory / name
    return directory / names[0]


_OPENCODE_FILES: Final = ("opencode.json", "opencode.jsonc")

HOSTS: Final[Mapping[str, Host]] = {
    host.name: host
    for host in (
        Host(
            name="claude-code",
            title="Claude Code",
            table="mcpServers",
            entry=_claude_code,
            user_file=lambda: _at("CLAUDE_CONFIG_DIR", _home, ".claude.json"),
            project_file=_here(".mcp.json"),
            kept=frozenset({"alwaysLoad"}),
            then="`claude mcp list` shows whether it connects; running sessions need a restart.",
        ),
        Host(
            name="claude-desktop",
            title="Claude Desktop",
            table="mcpServers",
            entry=_common,
            user_file=lambda: _application("Claude") / "claude_desktop_config.json",
            project_file=None,
            then="Quit Claude Desktop and open it again.",
        ),
        Host(
            name="vscode",
            title="VS Code",
            table="servers",
            entry=_typed,
            user_file=lambda: _application("Code") / "User" / "mcp.json",
            project_file=_here(".vscode", "mcp.json"),
            then='Run "MCP: List Servers" in VS Code and start it.',
        ),
        Host(
            name="cursor",
            title="Cursor",
            table="mcpServers",
            entry=_typed,
            user_file=lambda: _home() / ".cursor" / "mcp.json",
            project_file=_here(".cursor", "mcp.json"),
            then="Restart Cursor, then switch the server on in its MCP settings.",
        ),
        Host(
            name="codex",
            title="Codex",
            table="mcp_servers",
            entry=_common,
            user_file=lambda: _at("CODEX_HOME", lambda: _home() / ".codex", "config.toml"),
            project_file=_here(".codex", "config.toml"),
            then="`codex mcp list` shows it; `/mcp` in a session shows whether it connects.",
        ),
        Host(
            name="gemini",
            title="Gemini CLI",
            table="mcpServers",
            entry=_common,
            user_file=lambda: _home() / ".gemini" / "settings.json",
            project_file=_here(".gemini", "settings.json"),
            then="`gemini mcp list` shows whether it connects.",
        ),
        Host(
            name="antigravity",
            title="Antigravity CLI",
            table="mcpServers",
            entry=_common,
            user_file=lambda: _home() / ".gemini" / "config" / "mcp_config.json",
            project_file=_here(".agents", "mcp_config.json"),
            then="Restart agy; `/mcp` in it shows whether it connects.",
        ),
        Host(
            name="zed",
            title="Zed",
            table="context_servers",
            entry=_common,
            user_file=lambda: _config() / "zed" / "settings.json",
            project_file=None,
            then="Zed reads the file at once; its agent settings show the server.",
        ),
        Host(
            name="opencode",
            title="opencode",
            table="mcp",
            entry=_opencode,
            user_file=lambda: _existing(
                _at("XDG_CONFIG_HOME", lambda: _home() / ".config", "opencode"), _OPENCODE_FILES
            ),
            project_file=lambda: _existing(Path.cwd(), _OPENCODE_FILES),
            then="`opencode mcp list` shows whether it connects.",
        ),
    )
}
