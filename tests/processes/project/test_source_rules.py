"""The source tree keeps its rules, and the package is light to import."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.project.test_project import ROOT

# A file that breaks a rule -> the rule's name.
BAD_FILES = [
    ("mcp_jobs/service/job_service.py", "x = 0\n" * 501, "file-size"),
    ("mcp_jobs/store/sqlite/sql/jobs.sql", "SELECT 1;\n" * 501, "file-size"),
    ("benchmarks/long.py", "def long():\n" + "    x = 0\n" * 60, "function-size"),
    ("tests/run.py", "import subprocess\nsubprocess.run('ls', shell=True)\n", "shell"),
    ("scripts/run.py", "from os import system as call\ncall('ls')\n", "shell"),
    ("mcp_jobs/engine/claiming.py", "import os\nx = os.environ.get('HOME')\n", "environment"),
    ("mcp_jobs/__main__.py", "from os import getenv\nx = getenv('HOME')\n", "environment"),
    ("mcp_jobs/service/job_service.py", "import os as system\nsystem.killpg(1, 9)\n", "signals"),
    (
        "mcp_jobs/engine/supervisor.py",
        "from signal import pidfd_send_signal as s\ns(1, 9)\n",
        "signals",
    ),
    ("mcp_jobs/execution/launcher/main.py", "from concurrent.futures import Future\n", "launcher"),
    ("mcp_jobs/execution/launcher/main.py", "import anyio.abc\n", "pure"),
    ("mcp_jobs/output/progress/pytest.py", "import regex\n", "pure"),
    ("tests/unit/test_it.py", "PROGRAM = 'from x import SqliteStore'\n", "store"),
    ("mcp_jobs/domain/models.py", "def f():\n    from pydantic import BaseModel\n", "pure"),
]


GOOD_FILES = [
    ("tests/store/test_it.py", "from x import SqliteStore\n"),
    (
        "benchmarks/short.py",
        'def short():\n    """Say.\n\n    More.\n    """\n' + "    x = 0\n" * 59,
    ),
    ("mcp_jobs/settings.py", "import os\nx = os.environ\n"),
    (
        "mcp_jobs/execution/launcher/runner.py",
        "import os\nos.execve('/bin/sh', ['sh'], dict(os.environ))\n",
    ),
    (
        "mcp_jobs/execution/launcher/process_tree.py",
        "import os\nfrom . import spool\nos.kill(1, 9)\n",
    ),
    ("mcp_jobs/execution/job_directory.py", "import signal\nsignal.pidfd_send_signal(3, 9)\n"),
    ("mcp_jobs/engine/claiming.py", "import anyio\nos = object()\nos.environ\n"),
    ("tests/kill.py", "import os\nos.kill(int(os.environ['PID']), 9)\n"),
]


def test_importing_the_package_needs_only_the_standard_library() -> None:
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import mcp_jobs\n"
        "print(*(set(sys.modules) - before))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["mcp_jobs"]


def test_the_source_tree_keeps_the_rules() -> None:
    status, report = _check_rules(ROOT)
    assert status == 0, report


@pytest.mark.parametrize(("path", "text", "rule"), BAD_FILES)
def test_a_file_that_breaks_a_rule_is_named(
    tmp_path: Path, path: str, text: str, rule: str
) -> None:
    _write(tmp_path, path, text)
    status, report = _check_rules(tmp_path)
    assert status == 1
    assert re.fullmatch(rf"{re.escape(path)}:\d+: {rule}: .+\n1 violations\n", report)


def test_a_module_with_the_name_of_another_is_named(tmp_path: Path) -> None:
    for room in ("domain", "engine"):
        for name in ("base", "claims"):
            _write(tmp_path, f"mcp_jobs/{room}/{name}.py", "")
    status, report = _check_rules(tmp_path)
    assert status == 1
    named = "mcp_jobs/engine/claims.py:1: names: named as mcp_jobs/domain/claims.py is\n"
    assert report == f"{named}1 violations\n"


def test_what_is_allowed_is_not_named(tmp_path: Path) -> None:
    for path, text in GOOD_FILES:
        _write(tmp_path, path, text)
    assert _check_rules(tmp_path) == (0, "no violations\n")


def _write(root: Path, path: str, text: str) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def _check_rules(root: Path) -> tuple[int, str]:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "check_rules.py"), str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not ran.stderr
    return ran.returncode, ran.stdout
