"""`mcp-jobs install` writes what each host reads, after a diff and a backup, and breaks nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_jobs.interfaces.cli.hosts import jsonc
from mcp_jobs.interfaces.cli.hosts.known_hosts import HOSTS
from tests.support import Place
from tests.system.commands.test_cli_jobs import Terminal, cli, environment, good, on_terminal

SCRIPT = str(Path(sys.executable).with_name("mcp-jobs"))
PLAIN = {"command": SCRIPT, "args": []}
TYPED = {"type": "stdio", **PLAIN}
# Where each host looks on Linux, and what it wants to find there.
WANTED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "claude-code": (".claude.json", "mcpServers", {**TYPED, "alwaysLoad": True}),
    "claude-desktop": (".config/Claude/claude_desktop_config.json", "mcpServers", PLAIN),
    "vscode": (".config/Code/User/mcp.json", "servers", TYPED),
    "cursor": (".cursor/mcp.json", "mcpServers", TYPED),
    "codex": (".codex/config.toml", "mcp_servers", PLAIN),
    "gemini": (".gemini/settings.json", "mcpServers", PLAIN),
    "antigravity": (".gemini/config/mcp_config.json", "mcpServers", PLAIN),
    "zed": (".config/zed/settings.json", "context_servers", PLAIN),
    "opencode": (
        ".config/opencode/opencode.json",
        "mcp",
        {"type": "local", "command": [SCRIPT], "enabled": True},
    ),
}
IN_PROJECT = {
    "claude-code": ".mcp.json",
    "vscode": ".vscode/mcp.json",
    "cursor": ".cursor/mcp.json",
    "codex": ".codex/config.toml",
    "gemini": ".gemini/settings.json",
    "antigravity": ".agents/mcp_config.json",
    "opencode": "opencode.json",
}


def _servers(path: Path, table: str) -> Any:
    text = path.read_text()
    return (tomllib.loads if path.suffix == ".toml" else jsonc.loads)(text)[table]


def test_every_host_is_tried_here() -> None:
    assert list(WANTED) == list(HOSTS)


@pytest.mark.parametrize("host", WANTED)
def test_a_new_file_has_the_entry_and_a_second_run_changes_nothing(place: Place, host: str) -> None:
    file, table, entry = WANTED[host]
    path = place.root / file
    done = cli(place, "install", "--yes", host)

    assert done.returncode == 0
    assert f"+++ {path}" in done.stdout
    assert f"Written to {path}." in done.stderr
    assert _servers(path, table) == {"jobs": entry}
    again = cli(place, "install", host)
    assert (again.returncode, again.stdout) == (0, "")
    assert "is set up already" in again.stderr
    assert [p.name for p in path.parent.glob("*.bak")] == []


@pytest.mark.parametrize("host", IN_PROJECT)
def test_a_project_gets_the_command_by_its_name(place: Place, host: str) -> None:
    assert cli(place, "install", "-y", host, "--project").returncode == 0
    table = WANTED[host][1]
    entry = _servers(place.project / IN_PROJECT[host], table)["jobs"]
    assert entry["command"] in ("mcp-jobs", ["mcp-jobs"])


@pytest.mark.parametrize("host", sorted(set(WANTED) - set(IN_PROJECT)))
def test_a_host_that_reads_no_project_says_so(place: Place, host: str) -> None:
    done = cli(place, "install", host, "--project")
    assert (done.returncode, done.stdout) == (2, "")
    assert "leave --project out" in done.stderr


def test_an_existing_file_is_kept_beside_the_change(place: Place) -> None:
    path = place.root / ".config/zed/settings.json"
    path.parent.mkdir(parents=True)
    before = '{\n  // keep me\n  "theme": "x",\n}\n'
    path.write_text(before)
    done = cli(place, "install", "--yes", "zed", "--env", "MCP_JOBS_CAPACITY=2")

    (backup,) = path.parent.glob("*.bak")
    assert backup.read_text() == before
    assert "// keep me" in path.read_text()
    assert _servers(path, "context_servers")["jobs"]["env"] == {"MCP_JOBS_CAPACITY": "2"}
    assert str(backup) in done.stderr
    assert "-" not in {line[0] for line in done.stdout.splitlines()[2:]}


def test_whether_claude_code_always_loads_the_tools_stays_as_its_user_has_set_it(
    place: Place,
) -> None:
    path = place.root / ".claude.json"
    path.write_text(json.dumps({"mcpServers": {"jobs": {"command": "x", "alwaysLoad": False}}}))
    assert cli(place, "install", "--yes", "claude-code").returncode == 0
    assert _servers(path, "mcpServers") == {"jobs": {**TYPED, "alwaysLoad": False}}
    assert "is set up already" in cli(place, "install", "claude-code").stderr


def test_a_broken_file_is_left_alone(place: Place) -> None:
    path = place.root / ".gemini/settings.json"
    path.parent.mkdir()
    path.write_text('{"a": ')
    done = cli(place, "install", "gemini")

    assert (done.returncode, done.stdout) == (1, "")
    assert "line 1: a value is missing" in done.stderr
    assert "left as it is" in done.stderr
    assert [(p.name, p.read_text()) for p in path.parent.iterdir()] == [(path.name, '{"a": ')]
    listed = cli(place, "install")
    assert listed.returncode == 1
    assert re.search(r"^gemini +Gemini CLI +broken +", listed.stdout, re.MULTILINE)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)])
def test_what_a_project_has_in_the_place_of_a_hosts_file_is_named_and_not_waited_for(
    place: Place, make: Callable[[Path], None]
) -> None:
    make(place.project / ".mcp.json")
    done = cli(place, "install", "claude-code", "--project", "--yes")

    assert (done.returncode, done.stdout) == (1, "")
    assert "stands where a file should be" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "stands where a file should be" in cli(place, "doctor").stdout


def test_print_and_dry_run_write_nothing(place: Place) -> None:
    printed = cli(place, "install", "codex", "--print")
    assert tomllib.loads(printed.stdout) == {"mcp_servers": {"jobs": PLAIN}}
    dry = cli(place, "install", "codex", "--dry-run")
    assert f"+++ {place.root}/.codex/config.toml" in dry.stdout
    assert "Nothing was written." in dry.stderr
    assert not (place.root / ".codex").exists()


def test_json_tells_what_was_done(place: Place) -> None:
    shown = json.loads(good(place, "install", "-y", "cursor", "--json", "--name", "background"))
    path = place.root / ".cursor/mcp.json"
    assert (shown["path"], shown["written"], shown["backup"]) == (str(path), True, None)
    assert _servers(path, "mcpServers") == {"background": shown["entry"]}
    states = {s["host"]: s["state"] for s in json.loads(good(place, "install", "--json"))}
    assert states == {h: "set up" if h == "cursor" else "no file" for h in HOSTS}


def test_an_unknown_host_is_refused_with_the_list(place: Place) -> None:
    done = cli(place, "install", "emacs")
    assert (done.returncode, done.stdout) == (2, "")
    assert "claude-code, claude-desktop, vscode" in done.stderr


@pytest.mark.parametrize("text", ["", "y\n", "n\n"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_without_a_terminal_nothing_is_written(
    place: Place, text: str, options: tuple[str, ...]
) -> None:
    done = cli(place, "install", "cursor", *options, input=text)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert not (place.root / ".cursor").exists()


@pytest.mark.parametrize("lost", ["stdin", "stdout", "stderr"])
def test_a_change_that_nobody_sees_is_not_written(place: Place, lost: str) -> None:
    with Terminal(place, "install", "cursor", without=(lost,)) as terminal:
        terminal.write("y\n")
    assert terminal.code == 2
    assert not (place.root / ".cursor").exists()


@pytest.mark.parametrize("typed", ["n\n", "\x04", "\n\x04"])
def test_a_terminal_that_does_not_say_yes_writes_nothing(place: Place, typed: str) -> None:
    with Terminal(place, "install", "cursor") as terminal:
        terminal.read_until("Write this? [y/n]")
        terminal.write(typed)
    assert (terminal.code, "Traceback" in terminal.text) == (1, False)
    assert not (place.root / ".cursor").exists()


def test_a_terminal_that_says_yes_writes(place: Place) -> None:
    code, _ = on_terminal(place, "install", "cursor", answer="y\n")
    assert (code, (place.root / ".cursor/mcp.json").exists()) == (0, True)


def test_the_directories_that_hosts_are_told_of_are_obeyed(place: Place) -> None:
    where = {
        "codex": {"CODEX_HOME": str(place.root / "c")},
        "claude-code": {"CLAUDE_CONFIG_DIR": str(place.root / "d")},
        "opencode": {"XDG_CONFIG_HOME": str(place.root / "x")},
    }
    (place.root / "x/opencode").mkdir(parents=True)
    (place.root / "x/opencode/opencode.jsonc").write_text("// mine\n{}\n")
    for host, variables in where.items():
        assert cli(place, "install", "-y", host, **variables).returncode == 0
    for file in ("c/config.toml", "d/.claude.json", "x/opencode/opencode.jsonc"):
        assert "mcp-jobs" in (place.root / file).read_text()


def test_what_was_installed_starts_a_server(place: Place) -> None:
    good_entry = json.loads(good(place, "install", "-y", "cursor", "--json"))["entry"]
    done = subprocess.run(
        [good_entry["command"], *good_entry["args"]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env=environment(place),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
