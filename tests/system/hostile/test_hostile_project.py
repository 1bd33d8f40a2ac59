"""What lies in the project never runs in a library's place, however the server was started."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs.execution import launcher_client
from mcp_jobs.interfaces.cli import install
from tests import contract
from tests.support import Place, open_client

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from mcp import Client

APP = Path(__file__).parents[1] / "python_app.py"
ROOT = APP.parent.parent.parent
SHADOWED = ("yaml", "argparse", "logging", "json", "anyio", "pydantic", "regex", "difflib", "mcp")
DECLARED = "jobs:\n  greet:\n    description: d\n    command: [echo, hello]\n"


def plant(folder: Path, *names: str) -> Path:
    """Put modules of these names into a folder; returns the file that appears if one runs."""
    proof = folder / "PWNED"
    for name in names:
        (folder / f"{name}.py").write_text(f"open({str(proof)!r}, 'w').close()\n")
    return proof


@pytest.fixture
def script(place: Place) -> Path:
    path = place.root / "app" / "tools.py"
    path.parent.mkdir()
    shutil.copy(APP, path)
    return path


def served(
    place: Place, *arguments: str, interpreter: tuple[str, ...] = (), **env: str
) -> AbstractAsyncContextManager[Client]:
    return open_client(place, args=[*interpreter, "-m", "mcp_jobs", *arguments], env=env)


async def use(client: Client) -> dict[str, Any]:
    """Make the server and a job's interpreter import what they import late."""
    tools = await client.list_tools()
    assert "start_job" in {tool.name for tool in tools.tools}
    greeting = await contract.call(client, "start_job", {"type": "greet", "wait_seconds": 30})
    assert (await contract.ended(client, greeting["job_id"]))["status"] == "completed"
    job = await contract.call(client, "start_job", {"type": "doze"})
    return await contract.ended(client, job["job_id"])


async def test_modules_of_the_project_are_not_imported(place: Place, script: Path) -> None:
    proof = plant(place.project, *SHADOWED)
    place.declare(DECLARED)
    async with served(place, "--app", f"{script}:jobs") as client:
        job = await use(client)

    assert (job["status"], job["error"]) == ("completed", None)
    assert not proof.exists()


async def test_a_package_of_our_name_in_the_project_is_not_imported(
    place: Place, script: Path
) -> None:
    (place.project / "mcp_jobs").mkdir()
    proof = plant(place.project, *SHADOWED)
    inner = plant(place.project / "mcp_jobs", "__init__", "__main__", "child")
    place.declare(DECLARED)
    async with served(place, "--app", f"{script}:jobs", interpreter=("-P",)) as client:
        job = await use(client)

    assert (job["status"], job["error"]) == ("completed", None)
    assert not proof.exists()
    assert not inner.exists()


async def test_what_lies_beside_the_file_of_an_app_takes_no_librarys_place(
    place: Place, script: Path
) -> None:
    proof = plant(script.parent, *SHADOWED)
    (script.parent / "beside.py").write_text("NAME = 'beside'\n")
    text = script.read_text()
    script.write_text(text.replace("\nimport asyncio\n", "\nimport asyncio\nimport beside\n"))
    place.declare(DECLARED)
    async with served(place, "--app", f"{script}:jobs") as client:
        job = await use(client)

    assert (job["status"], job["error"]) == ("completed", None)
    assert not proof.exists()


async def test_a_module_on_the_path_of_the_environment_can_be_named(
    place: Place, script: Path
) -> None:
    proof = plant(place.project, *SHADOWED, "tools")
    place.declare(DECLARED)
    path = f"{ROOT}:{script.parent}"
    async with served(place, "--app", "tools:jobs", PYTHONPATH=path) as client:
        job = await use(client)

    assert (job["status"], job["error"]) == ("completed", None)
    assert not proof.exists()


@pytest.mark.parametrize("path", [":{root}", "{root}:", "{root}:.:sub"])
async def test_a_path_that_begins_or_ends_with_nothing_is_not_the_project(
    place: Place, script: Path, path: str
) -> None:
    # What the standard library or the start of Python loads, nothing here can keep from it.
    loaded_late = ("yaml", "anyio", "pydantic", "regex", "mcp")
    (place.project / "sub").mkdir()
    proofs = [plant(place.project, *loaded_late), plant(place.project / "sub", *loaded_late)]
    place.declare(DECLARED)
    path = path.format(root=ROOT)
    async with served(
        place, "--app", f"{script}:jobs", interpreter=("-P",), PYTHONPATH=path
    ) as client:
        await client.list_tools()
        # Now that the server has begun: the next interpreter is a job's.
        inner = plant(place.project, "mcp_jobs", "json", "inspect", "asyncio")
        job = await use(client)

    assert (job["status"], job["error"]) == ("completed", None)
    assert not any(proof.exists() for proof in (*proofs, inner))


@pytest.mark.parametrize("interpreter", [(), ("-P",)])
def test_a_module_of_the_project_is_refused_with_what_to_write_instead(
    place: Place, interpreter: tuple[str, ...]
) -> None:
    proof = plant(place.project, "tools")
    told = refusal(place, "tools:jobs", *interpreter)

    assert "cannot be imported: ModuleNotFoundError: No module named 'tools'. " in told
    assert "never in the project's directory" in told
    assert told.endswith(f"Name the file, if you trust it: {place.project}/tools.py:jobs\n")
    assert not proof.exists()


def test_a_relative_file_is_refused_with_the_whole_path(place: Place) -> None:
    proof = plant(place.project, "tools")
    told = refusal(place, "tools.py:jobs")

    assert "a relative one would be another file in each project" in told
    assert told.endswith(f"{place.project}/tools.py:jobs\n")
    assert not proof.exists()


def test_a_file_with_the_name_of_a_library_is_refused(place: Place) -> None:
    proof = plant(place.root, "yaml")
    told = refusal(place, f"{place.root}/yaml.py:jobs")

    assert "Python has another module of the name 'yaml', " in told
    assert told.endswith("Give the file another name.\n")
    assert not proof.exists()


def refusal(place: Place, app: str, *interpreter: str) -> str:
    done = subprocess.run(
        [sys.executable, *interpreter, "-m", "mcp_jobs", "--app", app],
        cwd=place.project,
        env=place.environment(PYTHONPATH=str(ROOT)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"mcp-jobs: The app {app!r} ")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_the_worker_that_drains_the_queue_imports_nothing_of_its_directory(tmp_path: Path) -> None:
    proof = plant(tmp_path, *SHADOWED, "mcp_jobs")
    command = launcher_client.drain_command({}).argv
    assert command[-2:] == ("worker", "--drain")
    done = subprocess.run(
        [*command[:-2], "--version"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.stdout.startswith("mcp-jobs ")
    assert not proof.exists()


def test_a_host_is_given_an_interpreter_that_leaves_its_directory_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = plant(tmp_path, *SHADOWED, "mcp_jobs")
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setattr(install, "SCRIPT", "no-such-script")
    command = install.own_command()
    done = subprocess.run(
        [*command, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert command[0] == sys.executable
    assert done.stdout.startswith("mcp-jobs ")
    assert not proof.exists()
