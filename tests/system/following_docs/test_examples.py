"""The examples run, and the snippets of the documentation do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.markdown import DOCS, README, ROOT, Block, blocks, section
from tests.support import Place, open_client, python, run

EXAMPLES = ROOT / "examples"
FAILING = [
    "tests/test_prices.py::test_a_discount_rounds_to_the_nearest_cent",
    "tests/test_shipping.py::test_an_order_of_exactly_the_limit_is_sent_for_free",
]
PROGRESS_PAGE = DOCS / "progress.md"
SNIPPETS = [*blocks(README, "sh", "python"), *blocks(PROGRESS_PAGE, "sh", "python")]


def _run(place: Place, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(place.root),
            "TMPDIR": str(place.root),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(ROOT),
            **environ,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_demo_shows_everything_and_leaves_nothing_behind(place: Place) -> None:
    before = {path.name for path in place.root.iterdir()}
    ran = _run(place, str(EXAMPLES / "demo.py"))

    assert (ran.returncode, ran.stderr) == (0, "")
    for name in FAILING:
        assert ran.stdout.count(f"FAILED {name}") >= 2
    assert "\x1b" not in ran.stdout
    assert re.search(r"progress .* \d+ of 20 tests, 1 failed", ran.stdout)
    assert "the job has ended" in ran.stdout
    assert "Everything was seen." in ran.stdout
    assert {path.name for path in place.root.iterdir()} == before
    left = {path.name for path in (EXAMPLES / "sample_project").iterdir()}
    assert left - {"__pycache__"} == {"basket.py", "pytest.ini", "tests"}


def test_the_minimal_client_waits_for_the_end_of_a_command(place: Place) -> None:
    ran = _run(
        place,
        str(EXAMPLES / "minimal_client.py"),
        *("sh", "-c", "echo 'two words'; exit 3"),
        **place.environment(),
    )

    assert ran.returncode == 1
    assert ran.stdout == "two words\n"
    assert ran.stderr.endswith("failed: The command ended with exit code 3.\n")


@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
async def test_a_documented_snippet_reports_progress(place: Place, snippet: Block) -> None:
    command = python(snippet.text) if snippet.language == "python" else snippet.text
    async with open_client(place) as client:
        job = await run(client, command)

    assert (job["status"], job["output"]["text"]) == ("completed", "")
    assert job["progress"]["percent"] == 100


def test_there_are_snippets_for_the_shell_and_for_python() -> None:
    assert blocks(README, "sh")
    page = section(PROGRESS_PAGE, "From any program")
    assert "```sh\n" in page
    assert "```python\n" in page
