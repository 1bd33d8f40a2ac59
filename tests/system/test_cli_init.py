"""`mcp-jobs init` finds what a project has and writes it down, to be read and edited."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.system.test_cli_jobs import cli, good

if TYPE_CHECKING:
    from tests.support import Place

PACKAGE = {
    "scripts": {
        "test": "vitest run",
        "build:web": "vite build",
        "dev": "vite",
        "prebuild": "rm -rf dist",
        "odd 'name' {x}": 'echo "hi" # {y}\nand more',
    }
}
MAKEFILE = """\
CC := gcc
.PHONY: test build
test: build ## Run everything
\tpytest
build lint:
\tcc
%.o: %.c
\tcc
dist/app.js: src
\tx
serve:
\tx
"""
JUSTFILE = """\
set shell := ["bash"]
# Ship it
deploy:
    ./deploy
_private:
    x
with-args target:
    x
"""


def entries(text: str) -> dict[str, list[str]]:
    """The active entries and their commands."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.partition("\njobs:\n")[2].splitlines():
        if match := re.fullmatch(r"  ([A-Za-z][\w-]*):", line):
            name = match[1]
        if line.startswith("    command: "):
            found[name] = json.loads(line.partition(": ")[2])
    return found


def test_every_kind_of_project_is_recognised(place: Place) -> None:
    (place.project / "package.json").write_text(json.dumps(PACKAGE))
    (place.project / "pnpm-lock.yaml").touch()
    (place.project / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (place.project / "uv.lock").touch()
    (place.project / "Cargo.toml").write_text("[package]\nname = 'x'\n")
    (place.project / "Makefile").write_text(MAKEFILE)
    (place.project / "justfile").write_text(JUSTFILE)
    done = cli(place, "init")

    assert done.returncode == 0
    text = (place.project / "jobs.yaml").read_text()
    assert entries(text) == {
        "test": ["uv", "run", "pytest", "{path}"],
        "pnpm_test": ["pnpm", "run", "test"],
        "build_web": ["pnpm", "run", "build:web"],
        "odd_name_x": ["pnpm", "run", "odd 'name' {{x}}"],
        "cargo_test": ["cargo", "test"],
        "cargo_build": ["cargo", "build"],
        "cargo_clippy": ["cargo", "clippy"],
        "make_test": ["make", "test"],
        "build": ["make", "build"],
        "lint": ["make", "lint"],
        "deploy": ["just", "deploy"],
    }
    for line in ("# dev:", "# serve:", '"Run everything"', '"Ship it"', "# From Makefile"):
        assert line in text
    for name in entries(text):
        assert name in done.stdout


@pytest.mark.parametrize("text", ["{", "[]", '{"scripts": 3}', '{"scripts": {"dev": "x"}}'])
def test_without_a_task_an_example_is_written(place: Place, text: str) -> None:
    (place.project / "package.json").write_text(text)
    assert "  hello:\n" in good(place, "init", "--print")
    assert not (place.project / "jobs.yaml").exists()


@pytest.mark.parametrize("name", ["Makefile", "justfile", "package.json", "pyproject.toml"])
def test_what_is_no_file_is_not_waited_for(place: Place, name: str) -> None:
    os.mkfifo(place.project / name)
    assert "  hello:\n" in good(place, "init", "--print")


def test_a_file_that_is_there_is_kept_unless_forced(place: Place) -> None:
    path = place.project / "jobs.yaml"
    path.write_text("mine")
    done = cli(place, "init")
    assert (done.returncode, done.stdout, path.read_text()) == (1, "", "mine")
    assert "--force" in done.stderr
    shown = json.loads(good(place, "init", "--force", "--json"))
    assert shown == {"path": str(path), "types": ["hello"]}
    assert path.read_text().startswith("# The job types")
