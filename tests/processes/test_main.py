"""The command: what it prints, and that every known problem is one sentence and code 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mcp_jobs import __version__

if TYPE_CHECKING:
    from tests.support import Place

ROOT = Path(__file__).parents[2]


def mcp_jobs(
    place: Place, *arguments: str, program: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    way = ["-m", "mcp_jobs"] if program is None else ["-c", program]
    return subprocess.run(
        [sys.executable, *way, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=place.project,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            **place.environment(),
            **environment,
        },
    )


def assert_one_sentence(done: subprocess.CompletedProcess[str], *fragments: str) -> None:
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("mcp-jobs: ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith(".\n")
    assert [text for text in fragments if text not in done.stderr] == []


def test_the_version_is_printed(place: Place) -> None:
    done = mcp_jobs(place, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mcp-jobs {__version__}\n", "")


def test_the_help_of_serve_is_complete_by_itself(place: Place) -> None:
    done = mcp_jobs(place, "serve", "--help")
    assert "a file of job types" in done.stdout
    assert "above" not in done.stdout


def test_help_is_printed(place: Place) -> None:
    done = mcp_jobs(place, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "MCP server over stdio" in " ".join(done.stdout.split())
    assert "--version" in done.stdout


def test_an_unknown_option_is_refused(place: Place) -> None:
    done = mcp_jobs(place, "--nope")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unrecognized arguments: --nope" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["worker", "--drain"]])
def test_what_serves_or_works_imports_nothing_of_the_command_line(
    place: Place, arguments: list[str]
) -> None:
    program = (
        "import os, sys\n"
        "def tell(code):\n"
        "    print(*(m for m in sys.modules if '.' not in m or m == 'mcp_jobs.interfaces.cli'))\n"
        "    sys.stdout.flush()\n"
        "os._exit = tell\n"
        "from mcp_jobs.__main__ import main\n"
        "main()\n"
    )
    done = mcp_jobs(place, *arguments, program=program)
    assert (done.returncode, done.stderr) == (0, "")
    imported = set(done.stdout.split())
    assert {"mcp_jobs", "pydantic"} <= imported
    assert (
        imported & {"mcp_jobs.interfaces.cli", "typer", "rich", "tomlkit", "shellingham"} == set()
    )


def test_without_a_client_the_server_ends_well(place: Place) -> None:
    done = mcp_jobs(place)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("CAPACITY", "none", "valid integer"),
        ("CAPACITY", "0", "greater than or equal to 1"),
        ("OUTPUT_CAP_BYTES", "1", "65536"),
        ("RETRY_BASE_SECONDS", "nan", "less than or equal to 3600"),
    ],
)
def test_a_bad_setting_is_one_sentence(place: Place, name: str, value: str, rule: str) -> None:
    done = mcp_jobs(place, **{f"MCP_JOBS_{name}": value})
    assert_one_sentence(done, f"MCP_JOBS_{name}='{value}'", rule)


def test_a_home_that_is_a_file_is_one_sentence(place: Place) -> None:
    (place.root / "file").touch()
    for home in (place.root / "file", place.root / "file" / "below"):
        done = mcp_jobs(place, MCP_JOBS_HOME=str(home))
        assert_one_sentence(done, f"The home {home} cannot be used: ", "MCP_JOBS_HOME")


def test_a_home_that_nobody_can_write_to_is_one_sentence(place: Place) -> None:
    # /proc refuses new directories to everybody, root included.
    done = mcp_jobs(place, MCP_JOBS_HOME="/proc/jobs")
    assert_one_sentence(done, "The home /proc/jobs cannot be used: ", "MCP_JOBS_HOME")


def test_a_database_that_is_none_is_one_sentence_and_left_as_it_is(place: Place) -> None:
    database = place.home / "jobs.db"
    database.write_bytes(b"not a database, but dear to somebody\n" * 100)
    before = database.read_bytes()
    done = mcp_jobs(place)
    assert_one_sentence(done, str(database), "cannot be used", "left as it is")
    assert database.read_bytes() == before


def test_a_runtime_directory_of_others_is_one_sentence(place: Place) -> None:
    directory = place.root / "run" / "mcp-jobs"
    directory.mkdir()
    directory.chmod(0o777)
    assert_one_sentence(mcp_jobs(place), str(directory), "XDG_RUNTIME_DIR")


INTERRUPTED = """\
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPTED_AT"]:
            del sys.meta_path[0]
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
from mcp_jobs.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("argparse", []),
        ("anyio", []),
        ("mcp", []),
        ("mcp_jobs.interfaces.mcp.tools.job_tools", []),
        ("mcp_jobs.store", ["worker"]),
        ("typer", ["list"]),
    ],
)
def test_an_interrupt_during_an_import_ends_it_with_130_and_no_traceback(
    place: Place, module: str, arguments: list[str]
) -> None:
    done = mcp_jobs(place, *arguments, program=INTERRUPTED, INTERRUPTED_AT=module)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_interrupt_inside_a_task_group_is_none_the_less_one(place: Place) -> None:
    program = (
        "from mcp_jobs import __main__ as main\n"
        "def run(): raise BaseExceptionGroup('several', [KeyboardInterrupt(), OSError()])\n"
        "main._guarded(run)"
    )
    done = mcp_jobs(place, program=program)
    assert (done.returncode, done.stderr) == (130, "")
