"""`make` sets up what a target needs, says how much that is, and takes nothing away."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.markdown import ROOT
from tests.packages import needed

if TYPE_CHECKING:
    from importlib.metadata import Distribution

SCRIPT = ROOT / "scripts" / "setup.sh"
LOG = 'echo "${0##*/} $*" >>"$LOG"'


def download_bytes(package: Distribution) -> int:
    """About as much as its wheel has: the compressed files."""
    files = [Path(str(file.locate())) for file in package.files or [] if file.suffix != ".pyc"]
    return sum(len(zlib.compress(file.read_bytes(), 6)) for file in files if file.is_file())


def told(extra: str) -> tuple[int, int]:
    """The number of packages and the megabytes that the script tells."""
    pattern = rf"^{extra}\).*'about (\d+) packages \((\d+) MB\)'"
    match = re.search(pattern, SCRIPT.read_text("utf-8"), re.MULTILINE)
    assert match is not None
    return int(match[1]), int(match[2])


@pytest.mark.parametrize("extra", ["demo", "dev"])
def test_the_number_of_packages_that_is_told_is_about_right(extra: str) -> None:
    assert told(extra)[0] == pytest.approx(len(needed(extra)), rel=0.15)


def test_the_size_of_the_demo_that_is_told_is_about_right() -> None:
    size_mb = sum(map(download_bytes, needed("demo").values())) / 1e6
    assert told("demo")[1] == pytest.approx(size_mb, rel=0.3)


def test_the_demo_needs_none_of_the_packages_of_the_tests() -> None:
    unneeded = set(needed("dev")) - set(needed("demo"))
    assert {"ruff", "mypy", "uv", "fastmcp", "schemathesis", "twine", "fastapi"} <= unneeded


class Tree:
    """A copy of what sets up, with a `.venv`, and programs that only log how they are run."""

    def __init__(self, root: Path) -> None:
        self.root, self.log = root, root / "log"
        (root / "scripts").mkdir()
        shutil.copy(SCRIPT, root / "scripts")
        shutil.copy(ROOT / "Makefile", root)
        (root / "pyproject.toml").touch()
        self.program(".venv/bin/python")

    def program(self, path: str, code: str = "exit 0") -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{LOG}\n{code}\n")
        file.chmod(0o755)

    def run(self, *command: str) -> str:
        """Run a command and return what it printed; the log begins anew."""
        self.log.write_text("")
        path = f"{self.root / 'bin'}:/usr/bin:/bin"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        done = subprocess.run(
            command,
            cwd=self.root,
            env=kept | {"PATH": path, "LOG": str(self.log)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    def installed(self) -> list[str]:
        """What the programs were told to install, as `PROGRAM EXTRA`."""
        lines = [line.split() for line in self.log.read_text().splitlines() if "install" in line]
        return [f"{words[0]} {words[-1]}" for words in lines]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_what_will_be_fetched_is_said_before_it_is(tree: Tree) -> None:
    tree.program("bin/uv", 'test -n "$LOG" && echo fetching')
    said = tree.run("sh", "scripts/setup.sh", "demo", sys.executable)

    assert said.index("about 45 packages (15 MB), which uv now puts into .venv") < said.index(
        "fetching"
    )


def test_uv_is_used_where_it_is_there(tree: Tree) -> None:
    tree.program("bin/uv")
    tree.run("sh", "scripts/setup.sh", "dev", sys.executable)
    assert tree.installed() == ["uv .[dev]"]


def test_pip_is_used_where_uv_cannot_do_it_or_is_missing(tree: Tree) -> None:
    assert "which pip now puts" in tree.run("sh", "scripts/setup.sh", "demo", sys.executable)
    assert tree.installed() == ["python .[demo]"]
    tree.program("bin/uv", "exit 1")
    tree.run("sh", "scripts/setup.sh", "demo", sys.executable)
    assert tree.installed() == ["uv .[demo]", "python .[demo]"]


def test_demo_and_test_each_install_what_they_need_into_the_same_environment(tree: Tree) -> None:
    make = ("make", f"PYTHON={sys.executable}")
    tree.run(*make, "demo")
    assert tree.installed() == ["python .[demo]"]
    tree.run(*make, "test")
    assert tree.installed() == ["python .[dev]"]
    tree.run(*make, "demo", "test")
    assert tree.installed() == []


def test_the_demo_takes_nothing_where_the_tests_have_been_set_up(tree: Tree) -> None:
    make = ("make", f"PYTHON={sys.executable}")
    tree.run(*make, "test")
    tree.run(*make, "demo")
    assert tree.installed() == []
