"""`mcp-jobs init` finds what a project has and writes it down, to be read and edited."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.system.commands.test_cli_jobs import cli, good

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


def found(place: Place, **files: str) -> str:
    """Return what `init` would write for these files."""
    for name, text in files.items():
        path = place.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return good(place, "init", "--print")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"pytest.ini": ""}, {"test": ["python3", "-m", "pytest", "{path}"]}),
        (
            {"pytest.ini": "", ".venv/bin/python": ""},
            {"test": [".venv/bin/python", "-m", "pytest", "{path}"]},
        ),
        (
            {"pytest.ini": "", ".venv/bin/python": "", "poetry.lock": ""},
            {"test": ["poetry", "run", "pytest", "{path}"]},
        ),
        ({"tox.ini": "", "noxfile.py": ""}, {"tox": ["tox"], "nox": ["nox"]}),
        ({"pyproject.toml": "[tool.tox]\n"}, {"tox": ["tox"]}),
        (
            {"go.mod": "module x\n"},
            {f"go_{name}": ["go", name, "./..."] for name in ("test", "build", "vet")},
        ),
        ({"go.mod": "module x\n", "Makefile": "all:\n"}, {"all": ["make", "all"]}),
        (
            {"CMakeLists.txt": "enable_testing()\n"},
            {
                "cmake_configure": ["cmake", "-S", ".", "-B", "build"],
                "cmake_build": ["cmake", "--build", "build"],
                "ctest": ["ctest", "--test-dir", "build", "--output-on-failure"],
            },
        ),
        (
            {"pom.xml": "<project/>", "mvnw": ""},
            {f"maven_{n}": ["./mvnw", "--batch-mode", n] for n in ("test", "package")},
        ),
        (
            {"build.gradle.kts": "", "gradlew": ""},
            {f"gradle_{n}": ["./gradlew", "--console=plain", n] for n in ("test", "build")},
        ),
        (
            {"build.gradle": ""},
            {f"gradle_{n}": ["gradle", "--console=plain", n] for n in ("test", "build")},
        ),
    ],
)
def test_a_project_is_run_by_the_tools_that_its_files_show(
    place: Place, files: dict[str, str], expected: dict[str, list[str]]
) -> None:
    assert entries(found(place, **files)) == expected


def test_what_publishes_or_resets_asks_a_person_first(place: Place) -> None:
    grave = {
        "db:reset": "x",
        "ship": "npm publish --tag next",
        "deployDocs": "x",
        "drop-all": "x",
        "v": "git release",
        "git-push": "x",
        "nuke": "x",
        "rollback": "x",
    }
    harmless = {
        "build": "cargo build --release",
        "raindrops": "x",
        "preset": "x",
        "list": "undeploy",
    }
    text = found(place, **{"package.json": json.dumps({"scripts": {**grave, **harmless}})})

    asked = set(re.findall(r"(?m)^  ([\w-]+):\n(?:    .*\n)*?    confirm: true\n", text))
    assert asked == {
        *("db_reset", "ship", "deployDocs", "drop-all", "v"),
        *("git-push", "nuke", "rollback"),
    }


def test_attributes_of_just_are_read_and_a_comment_says_why_it_is_one(place: Place) -> None:
    text = found(
        place,
        justfile="""\
# Wipe it
[group('db')]
[confirm("private?")]
wipe:
    x
[private]
hidden:
    x
[doc('Look it over')]
check:
    x
serve:
    x
""",
    )

    assert entries(text) == {"wipe": ["just", "--yes", "wipe"], "check": ["just", "check"]}
    assert (
        '    description: "Wipe it"\n    command: ["just", "--yes", "wipe"]\n    confirm: true\n'
        in text
    )
    assert 'description: "Look it over"' in text
    assert (
        "  # Commented out: it serves or watches, so it would not end by itself.\n  # serve:\n"
        in text
    )


def test_recipes_of_just_that_run_without_arguments_are_found(place: Place) -> None:
    text = found(
        place,
        justfile="""\
version := "1"
set shell := ["bash"]
# Run the tests
test *args:
    pytest {{args}}
release env='prod' +$files="a: b":
    x
@lint level=version:
    x
needs target:
    x
many +targets:
    x
half first='a' second:
    x
""",
    )

    assert entries(text) == {
        "test": ["just", "test"],
        "release": ["just", "release"],
        "lint": ["just", "lint"],
    }
    assert 'description: "Run the tests"' in text
