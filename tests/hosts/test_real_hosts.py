"""Each host, in a home of its own, reads what `mcp-jobs install` wrote and connects.

None of them is signed in: what is seen is the host's own report of its connection.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts import plugin
from tests.markdown import DOCS, names, rows, section
from tests.support import BOUND_S
from tests.system.commands.test_cli_jobs import cli
from tests.unit.project.test_docs import TOOLS

if TYPE_CHECKING:
    from tests.support import Place

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / ".hosts" / "node_modules" / ".bin"
PACKAGES: dict[str, str] = json.loads((Path(__file__).parent / "package.json").read_text("utf-8"))[
    "dependencies"
]
HOSTS = {
    "claude-code": "@anthropic-ai/claude-code",
    "codex": "@openai/codex",
    "gemini": "@google/gemini-cli",
    "opencode": "opencode-ai",
}
PROGRAM = {"claude-code": "claude"}
ESCAPES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
START_S = 120.0
"""Hosts start slowly, and a busy machine makes them slower."""


def host_program(host: str) -> str:
    program = PROGRAMS / PROGRAM.get(host, host)
    if not program.exists():
        pytest.skip(f"{HOSTS[host]} is not here; make hosts fetches it from npm and runs this")
    return str(program)


def environment(place: Place) -> dict[str, str]:
    """The home is the test's; what hosts pass on to servers is up to them."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(place.root),
        "TERM": "dumb",
        "NO_COLOR": "1",
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
        "DISABLE_AUTOUPDATER": "1",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        **place.environment(XDG_CONFIG_HOME=str(place.root / ".config")),
    }


def install(place: Place, host: str) -> None:
    options = [f"--env={name}={value}" for name, value in place.environment().items()]
    done = cli(place, "install", "--yes", host, *options)
    assert done.returncode == 0, done.stderr


def ask(place: Place, *command: str) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=START_S,
        cwd=place.project,
        env=environment(place),
    )
    assert done.returncode == 0, done.stdout
    return ESCAPES.sub("", done.stdout)


@pytest.mark.parametrize(
    ("host", "report"),
    [
        ("claude-code", r"^jobs: \S+/mcp-jobs +- ✔ Connected$"),
        ("gemini", r"✓ jobs: \S+/mcp-jobs +\(stdio\) - Connected"),
        ("opencode", r"✓ jobs connected"),
    ],
)
def test_the_host_says_that_it_is_connected(place: Place, host: str, report: str) -> None:
    program = host_program(host)
    before = ask(place, program, "mcp", "list")
    assert re.search(report, before, re.MULTILINE) is None
    install(place, host)
    after = ask(place, program, "mcp", "list")
    assert re.search(report, after, re.MULTILINE), after


def test_install_writes_what_claude_code_itself_adds_and_that_the_tools_are_there_at_once(
    place: Place,
) -> None:
    program = host_program("claude-code")
    script = str(Path(sys.executable).with_name("mcp-jobs"))
    ask(place, program, "mcp", "add", "--scope", "user", "jobs", "--", script)
    path = place.root / ".claude.json"
    added = json.loads(path.read_text())["mcpServers"]["jobs"]
    path.unlink()
    assert cli(place, "install", "--yes", "claude-code").returncode == 0
    ours = json.loads(path.read_text())["mcpServers"]["jobs"]
    assert {"env": {}, **ours} == {"env": {}, **added, "alwaysLoad": True}


def test_claude_code_installs_the_plugin_and_its_server_connects(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = host_program("claude-code")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    written = plugin.write(place.root / "plugin")
    assert "Validation passed" in ask(place, program, "plugin", "validate", str(written))
    ask(place, program, "plugin", "marketplace", "add", str(written))
    ask(place, program, "plugin", "install", "mcp-jobs@mcp-jobs")
    listed = ask(place, program, "mcp", "list")
    assert re.search(r"^plugin:mcp-jobs:jobs: mcp-jobs .*✔ Connected$", listed, re.M), listed


def test_codex_lists_the_tools(place: Place) -> None:
    program = host_program("codex")
    install(place, "codex")
    assert re.search(r"^jobs +\S+/mcp-jobs .* enabled", ask(place, program, "mcp", "list"), re.M)
    status = codex_status(place, program)
    assert status["serverInfo"]["name"] == "mcp-jobs"
    assert sorted(status["tools"]) == sorted(TOOLS)


def codex_status(place: Place, program: str) -> dict[str, Any]:
    """Ask Codex's app server, which needs no account, what it sees of the server."""
    with subprocess.Popen(
        [program, "app-server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=place.project,
        env=environment(place),
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        client = {"clientInfo": {"name": "test", "version": "1"}}
        for message in (
            {"id": 1, "method": "initialize", "params": client},
            {"method": "initialized"},
            {"id": 2, "method": "mcpServerStatus/list", "params": {}},
        ):
            server.stdin.write(json.dumps(message) + "\n")
            server.stdin.flush()
        answers = (json.loads(line) for line in server.stdout)
        answer = next(message for message in answers if message.get("id") == 2)
        server.stdin.close()
        server.wait(BOUND_S)
    (status,) = answer["result"]["data"]
    return dict(status)


def test_the_page_reports_on_these_versions() -> None:
    told = {row[0]: row[1] for row in rows(section(DOCS / "hosts.md", "Seen to connect"))[1:]}
    assert {names(host)[0]: version for host, version in told.items()} == {
        host: PACKAGES[package] for host, package in HOSTS.items()
    }
