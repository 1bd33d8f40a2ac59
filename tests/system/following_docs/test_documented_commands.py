"""Every `mcp-jobs` line in the documentation is run as it stands, with `JOB` as a real job."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.markdown import ROOT, blocks, files
from tests.support import Place
from tests.system.commands.test_cli_approve import DECLARED, asking_job
from tests.system.commands.test_cli_jobs import environment, good, on_terminal

PAGES = [path for path in files() if any("mcp-jobs " in b.text for b in blocks(path, "console"))]
ASKS = ("mcp-jobs approve", "mcp-jobs install ", "mcp-jobs trust")
NEVER_ENDS = "mcp-jobs list --watch"
MAKEFILE = "test build:\n\ttrue\n"


def told(path: Path) -> list[str]:
    lines = [line for block in blocks(path, "console") for line in block.text.splitlines()]
    return [line for line in lines if line.startswith("mcp-jobs ")]


def command_environment(place: Place) -> dict[str, str]:
    binaries = str(Path(sys.executable).parent)
    return environment(place) | {"PATH": f"{binaries}:{os.environ['PATH']}", "SHELL": "/bin/bash"}


def ran(place: Place, line: str) -> tuple[int, str]:
    """Run a line in a shell, which completion wants to see."""
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit $?"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
        cwd=place.project,
        env=command_environment(place),
    )
    return done.returncode, done.stdout


def agrees(place: Place, line: str) -> tuple[int, str]:
    """Run a line that asks a person, who says yes."""
    return on_terminal(place, *shlex.split(line)[1:], answer="y\n")


def watches(place: Place, line: str) -> None:
    """Run a line that only Ctrl-C ends."""
    with subprocess.Popen(
        line.split(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=place.project,
        env=command_environment(place),
    ) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        watching.stdout.read()
        assert watching.wait(60) == 0


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_commands_of_a_page_work(place: Place, path: Path) -> None:
    (place.project / "Makefile").write_text(MAKEFILE)
    (place.project / "report.sh").write_text("#!/bin/sh\n")
    (place.project / "report.sh").chmod(0o755)
    job = good(place, "start", "--wait", "--", "echo FAILED to fail").split()[0]
    failed = []
    for line in dict.fromkeys(told(path)):
        if line == NEVER_ENDS:
            watches(place, line)
            continue
        needs_asking = line.startswith("mcp-jobs approve")
        named = asking_job(place) if needs_asking else job
        (place.project / "jobs.yaml").unlink(missing_ok=True)
        if line.startswith("mcp-jobs trust"):
            (place.project / "jobs.yaml").write_text(DECLARED)
        run = agrees if line.startswith(ASKS) else ran
        code, output = run(place, line.replace("JOB", named))
        if code or "Traceback" in output:
            failed.append((line, code, output))
    assert failed == []


def test_there_are_commands_on_the_pages_that_promise_them() -> None:
    assert {path.name for path in PAGES} >= {"README.md", "cli.md", "hosts.md"}
    assert all(path.is_relative_to(ROOT) for path in PAGES)
