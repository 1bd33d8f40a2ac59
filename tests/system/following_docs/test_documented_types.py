"""The examples on the page about job types are files that work, or fail as the page says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.environment import changes_what_runs
from mcp_jobs.execution.launcher import layout
from mcp_jobs.job_types import yaml
from mcp_jobs.job_types.yaml import jobs_file, node, params, policies
from tests.contract import call, ended
from tests.markdown import DOCS, blocks, names, rows, section
from tests.support import Place, open_client

if TYPE_CHECKING:
    from pathlib import Path

PAGE = DOCS / "job-types.md"
EXAMPLES = [block.text for block in blocks(PAGE, "yaml")]
MISTAKE = "      verbose: {type: boolean, default: false}\n"


@pytest.mark.parametrize("text", EXAMPLES, ids=["all", "callers", "retries", "locks", "gantz"])
def test_an_example_is_a_whole_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(text.replace(MISTAKE, ""), "utf-8")
    found = yaml.load(path, base=str(tmp_path), reserved=frozenset())

    assert [str(problem) for problem in found.problems] == []
    assert found.types


def test_the_mistake_is_told_as_the_page_says(tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(EXAMPLES[0], "utf-8")
    (problem,) = yaml.load(path, base=None, reserved=frozenset()).problems
    (told,) = blocks(PAGE, "text")

    assert str(problem).removeprefix(f"{tmp_path}/") == told.text.strip()


async def test_the_examples_run(place: Place) -> None:
    place.declare(EXAMPLES[0].replace(MISTAKE, ""))
    place.declare(EXAMPLES[-1], "gantz.yaml")
    (place.project / "tests").mkdir()
    (place.project / "build").mkdir()
    (place.project / "a b").write_text("one\ntwo\n", "utf-8")
    async with open_client(place) as client:
        texts = []
        for type_, given in (
            ("run_tests", {}),
            ("clean", {"older_than": 3}),
            ("count_lines", {"file": "a b"}),
        ):
            job = await call(client, "start_job", {"type": type_, "params": given})
            assert "warning" not in job
            texts.append((await ended(client, job["job_id"]))["output"]["text"])

    assert "Ran 0 tests" in texts[0]
    assert (texts[1], texts[2].strip()) == ("", "2")


def test_every_key_and_unit_is_documented() -> None:
    told = [key for row in rows(section(PAGE, "An entry"))[1:] for key in names(row[0])]
    assert sorted(told) == sorted(jobs_file._KEYS)
    told = [key for row in rows(section(PAGE, "Parameters"))[1:] for key in names(row[0])]
    assert sorted(told) == sorted(params._KEYS)
    told = [key for row in rows(section(PAGE, "Retries"))[1:] for key in names(row[0])]
    assert sorted(told) == sorted(policies._ON_KEYS)
    entry = names(section(PAGE, "An entry"))
    assert set(jobs_file._ANNOTATIONS) <= set(entry)
    assert {*node._UNITS_S, *node._SIZES} - set(entry) == {""}
    assert f"{jobs_file.TIMEOUT_S:g} s" in section(PAGE, "An entry")
    gantz = section(PAGE, "gantz.yaml")
    assert [tool for tool in jobs_file.RESERVED_TOOLS if f"`{tool}`" not in gantz] == []


def test_every_name_that_is_said_to_be_refused_is() -> None:
    text = re.search(
        r"Names that would change.*?are refused, such as (.*?)\. Case",
        PAGE.read_text("utf-8"),
        re.DOTALL,
    )
    assert text is not None
    refused = [name.replace("*", "X") for name in names(text.group(1))]
    assert len(refused) > 5
    assert [name for name in refused if not changes_what_runs(name)] == []
    assert [name for name in ("path", "home", "word", layout.ENV) if changes_what_runs(name)] == []
