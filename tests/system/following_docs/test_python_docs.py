"""What docs/python.md and the example show works as it is written there."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp_types import ElicitResult

from examples.python_jobs import count_words
from mcp_jobs import JobContext, Jobs
from mcp_jobs.testing import run_job
from tests import contract
from tests.markdown import DOCS, ROOT, blocks, rows, section
from tests.support import LEGACY, Place, open_client

if TYPE_CHECKING:
    from mcp import Client

PAGE = DOCS / "python.md"
MAIN = 'if __name__ == "__main__":\n    jobs.run()\n'


@pytest.fixture
def written(place: Place) -> Path:
    """Every file of the page, put together from its parts."""
    parts: dict[str, list[str]] = defaultdict(list)
    for block in blocks(PAGE, "python"):
        name, _, text = block.text.partition("\n")
        parts[name.removeprefix("# ")].append(text)
    assert {*parts} == {"tools.py", "test_tools.py", "server.py", "nightly.py", "pipeline.py"}
    for name, texts in parts.items():
        text = "\n".join(texts)
        if name == "tools.py":
            # What a later part adds stands before the main part.
            assert MAIN in text
            text = text.replace(MAIN, "") + "\n" + MAIN
        (place.root / name).write_text(text)
    return place.root


async def run(client: Client, kind: str, params: dict[str, Any]) -> dict[str, Any]:
    call = {"type": kind, "params": params, "wait_seconds": 30}
    job = await contract.call(client, "start_job", call)
    return await contract.ended(client, job["job_id"])


async def answer(context: object, params: Any) -> ElicitResult:
    region = "region" in params.requested_schema["properties"]
    return ElicitResult(action="accept", content={"region": "eu"} if region else {})


async def test_the_server_of_the_page_runs_its_jobs(place: Place, written: Path) -> None:
    script = str(written / "tools.py")
    async with open_client(place, LEGACY, args=[script], elicitation_callback=answer) as client:
        report = await run(client, "report", {"pages": 2})
        download = await run(client, "download", {"url": "https://example.org"})
        deploy = await run(client, "deploy", {"version": "1.2"})

    assert (report["result"], report["progress"]["message"]) == ({"pages": 2}, "page 2")
    assert (download["attempt"], download["status"]) == (3, "completed")
    assert deploy["result"] == "1.2 runs in eu on 2"
    assert deploy["output"]["text"] == "warming\n"


def test_the_tests_of_the_page_pass(written: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_tools.py"]
    done = subprocess.run(
        command, cwd=written, env=environ, capture_output=True, text=True, check=False
    )

    assert "3 passed" in done.stdout, done.stdout


async def test_the_code_of_the_page_starts_a_job(place: Place, written: Path) -> None:
    environ = {**os.environ, **place.environment(), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "nightly.py"]
    done = subprocess.run(
        command, cwd=written, env=environ, capture_output=True, text=True, check=True
    )
    async with open_client(place) as client:
        job = await contract.ended(client, done.stdout.strip())

    assert (job["type"], job["result"]) == ("report", {"pages": 30})


async def test_the_pipeline_of_the_page_starts_jobs_in_their_order(
    place: Place, written: Path
) -> None:
    environ = {**os.environ, **place.environment(), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "pipeline.py"], cwd=written, env=environ, check=True)
    async with open_client(place) as client:
        # The server is of another project than that of the page.
        second, first = (await contract.call(client, "list_jobs", {"scope": "all"}))["jobs"]
        ends = [await contract.ended(client, job["job_id"]) for job in (first, second)]

    assert [job["result"] for job in ends] == [{"pages": 30}, {"pages": 2}]
    assert (second["after"], second["locks"]) == ([first["job_id"]], ["printer"])


async def test_the_mounted_server_of_the_page_has_both_kinds_of_tools(
    place: Place, written: Path
) -> None:
    async with open_client(place, args=[str(written / "server.py")]) as client:
        greeting = await client.call_tool("greet", {"name": "you"})
        report = await run(client, "report", {"pages": 1})

    assert greeting.structured_content == {"result": "Hello you"}
    assert report["result"] == {"pages": 1}


def test_the_page_documents_every_option_and_every_part_of_the_context() -> None:
    options = {p for p in inspect.signature(Jobs.job).parameters if p != "self"}
    told = " ".join(row[0] for row in rows(section(PAGE, "Options"))[1:])
    assert {name for name in options if f"`{name}`" not in told} == set()
    public = {name for name in vars(JobContext) if not name.startswith("_")} - {"cancel"}
    public |= {"attempt", "job_id"}
    told = " ".join(row[0] for row in rows(section(PAGE, "The context")))
    assert {name for name in public if f"`{name}" not in told} == set()


# -- the example ---------------------------------------------------------------------------------


async def test_the_example_counts_and_asks_before_it_deletes(place: Place) -> None:
    folder = place.project
    (folder / "a.md").write_text("one two three")
    (folder / "b.tmp").write_text("x")
    script = str(ROOT / "examples" / "python_jobs.py")
    async with open_client(place, LEGACY, args=[script], elicitation_callback=answer) as client:
        count = await run(client, "count_words", {"folder": str(folder)})
        clean = await run(client, "clean_up", {"folder": str(folder)})

    assert count["result"] == {"files": 1, "words": 3}
    assert clean["result"] == [str(folder / "b.tmp")]
    assert not (folder / "b.tmp").exists()


def test_the_example_goes_on_where_an_attempt_was_lost(tmp_path: Path) -> None:
    for name in ("a.md", "b.md", "c.md"):
        (tmp_path / name).write_text("one two")
    work = tmp_path / "work"
    first = run_job(count_words, {"folder": str(tmp_path)}, cancel_after=1, workdir=work)
    (tmp_path / "a.md").write_text("changed since")
    second = run_job(count_words, {"folder": str(tmp_path)}, attempt=2, workdir=work)

    assert (first.outcome, first.result) == ("cancelled", {"files": 1, "words": 2})
    assert second.result == {"files": 3, "words": 6}
