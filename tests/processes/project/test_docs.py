"""Every command that a reader is told to type works."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from tests.markdown import ROOT, blocks, files
from tests.unit.project.test_docs import SCRIPTS


def _make_demo_runs_it() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    ran = subprocess.run(
        ["make", "-n", "demo"], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert "examples/demo.py" in ran.stdout


def _script_exists() -> None:
    assert SCRIPTS == {"mcp-jobs": "mcp_jobs.__main__:main"}


# Every command that a reader is told to type, and what shows that it works. The demo itself is run
# by tests/system/following_docs/test_examples.py; installers are other people's programs, so that
# only what they need of this project is looked at.
COMMANDS: dict[str, Callable[[], None]] = {
    "make demo": _make_demo_runs_it,
    "pipx install .": _script_exists,
    "uv tool install .": _script_exists,
    "python3 -m pip install .": _script_exists,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_works(command: str) -> None:
    COMMANDS[command]()


def test_every_documented_command_is_tested() -> None:
    told = [
        line
        for path in files()
        for block in blocks(path, "console", "bash")
        for line in block.text.splitlines()
    ]
    # Those of mcp-jobs are run by tests/system/following_docs/test_documented_commands.py.
    others = [line for line in told if not line.startswith("mcp-jobs ")]
    assert sorted(others) == sorted(COMMANDS)
