"""Clients hear that the types changed when what they are offered did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.events import Event, InProcessBus, TypesChanged
from mcp_jobs.job_types.catalogue import Catalogue, Source

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = "jobs: {build: {description: Build it., command: [make]}}"


def news_of(tmp_path: Path, *texts: str) -> list[Event]:
    """Return what a client hears while a file gets these texts, one after the other."""
    path = tmp_path / "jobs.yaml"
    path.write_text(BEFORE, "utf-8")
    bus, heard = InProcessBus(), list[Event]()
    catalogue = Catalogue([Source(path, base=str(tmp_path))], bus=bus)
    assert list(catalogue.types()) == ["build"]
    bus.subscribe(heard.append)
    for text in texts:
        path.write_text(text, "utf-8")
        before = catalogue.types()
        assert catalogue.types() is before
    return heard


@pytest.mark.parametrize(
    "after",
    [
        "# How it is built\n" + BEFORE,
        BEFORE.replace("[make]", "[make, all]"),
        BEFORE.replace("[make]", "[make], timeout: 5m"),
    ],
)
def test_a_file_that_offers_the_same_as_before_is_no_news(tmp_path: Path, after: str) -> None:
    assert news_of(tmp_path, after) == []


@pytest.mark.parametrize(
    "after",
    [
        "jobs: {}",
        BEFORE.replace("Build it.", "Build all."),
        BEFORE.replace("build:", "make:"),
        BEFORE.replace("[make]", "[make], expose: tool"),
        BEFORE.replace("[make]", "[make], confirm: true"),
        BEFORE.replace("[make]", "[make, '{what}'], params: {what: {}}"),
    ],
)
def test_a_file_that_offers_something_else_is_news(tmp_path: Path, after: str) -> None:
    assert news_of(tmp_path, after) == [TypesChanged()]


def test_what_is_wrong_with_several_files_is_told_in_whole_sentences(tmp_path: Path) -> None:
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for path in paths:
        path.write_text("types: {}\n", "utf-8")
    catalogue = Catalogue([Source(path, base=str(tmp_path)) for path in paths], bus=InProcessBus())
    catalogue.types()
    wrong = ":1: there is no key 'types' here; allowed are jobs, locks."
    assert catalogue.take_news() == (
        f"Job types: {paths[0]}{wrong} {paths[1]}{wrong} "
        "What a broken file declared before is kept."
    )
