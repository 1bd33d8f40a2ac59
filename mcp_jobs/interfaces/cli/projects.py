"""What a project already has that can be a job: scripts, tests, targets, recipes."""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.execution.launcher import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BYTES: Final = 1 << 20
_MOST_OF_A_KIND: Final = 30
_TARGET: Final = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\s+[A-Za-z0-9][\w.-]*)*\s*::?(?!=)")
_HELP: Final = re.compile(r"##\s*(.+)$")
_DEFAULT: Final = r"""\s*=\s*(?:'[^']*'|"[^"]*"|[\w-]+)"""
_RECIPE: Final = re.compile(
    rf"^@?([A-Za-z_][\w-]*)(?:\s+(?:\*\$?[\w-]+|[+*]?\$?[\w-]+{_DEFAULT}))*\s*:(?!=)"
)
"""A recipe of just that runs without arguments."""
_NOT_A_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")
_HOOK: Final = re.compile(r"(?:pre|post).+|prepare|(?:un)?install|publish|version|dependencies")
"""Scripts that npm runs by itself."""
_SERVES: Final = re.compile(
    r"(?:^|[:_-])(?:dev|start|serve|server|watch|preview|storybook)(?:$|[:_-])"
)
_GRAVE: Final = re.compile(
    r"(?<![A-Za-z])(?:publish|releas|deploy|reset|drop|push|nuke|rollback)(?:s|e|es|ed|ing|ment)?(?![A-Za-z])",
    re.I,
)
"""What changes the world beyond this directory, or takes something away."""
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ATTRIBUTES: Final = re.compile(r"\[(.+)\]\s*$")
_DOC: Final = re.compile(r"""doc\s*\(\s*(['"])(.+?)\1\s*\)""")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_ENDLESS: Final = "it serves or watches, so it would not end by itself"
_HAS_TESTS: Final = re.compile(r"^\s*(?:enable_testing|add_test)\s*\(|include\s*\(\s*CTest", re.M)
_MAKEFILES: Final = ("GNUmakefile", "makefile", "Makefile")
_LOCKS: Final = {
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
    "bun.lock": "bun",
    "bun.lockb": "bun",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One entry of a jobs.yaml."""

    name: str
    description: str
    command: tuple[str, ...]
    source: str
    """The file that it comes from."""
    timeout: str | None = None
    params: tuple[str, ...] = ()
    """Lines of YAML."""
    active: bool = True
    """False: written as a comment, as it would not end."""
    confirm: bool = False
    """A person is asked first."""

    def yaml(self) -> str:
        """Return the entry as lines of YAML; JSON strings are YAML, whatever is in them."""
        lines = [f"{self.name}:", f"  description: {_quoted(self.description)}"]
        if self.params:
            lines += ["  params:", *(f"    {line}" for line in self.params)]
        lines.append(f"  command: [{', '.join(_quoted(_literal(part)) for part in self.command)}]")
        if self.timeout:
            lines.append(f"  timeout: {self.timeout}")
        if self.confirm:
            lines.append("  confirm: true")
        if not self.active:
            lines.insert(0, f"Commented out: {_ENDLESS}.")
        return "".join(f"  {'' if self.active else '# '}{line}\n" for line in lines)


def found_in(directory: Path) -> list[Task]:
    """Return the tasks of a project, each with a name of its own."""
    found = [
        *_python(directory),
        *_scripts(directory),
        *_cargo(directory),
        *_go(directory),
        *_cmake(directory),
        *_maven(directory),
        *_gradle(directory),
        *_make(directory),
        *_just(directory),
    ]
    taken = set[str]()
    named: list[Task] = []
    for task in found:
        name, number = task.name, 2
        if name.lower() in taken:
            name = _name(f"{os.path.basename(task.command[0])}_{task.name}")
        while name.lower() in taken:
            name, number = f"{task.name}_{number}", number + 1
        taken.add(name.lower())
        named.append(replace(task, name=name))
    return named


def _python(directory: Path) -> Iterator[Task]:
    project = _toml(directory / "pyproject.toml")
    tools = project.get("tool", {})
    source = next(
        (
            name
            for name, there in (
                ("pyproject.toml", "pytest" in tools),
                ("pytest.ini", (directory / "pytest.ini").is_file()),
                ("tests/", any((directory / "tests").glob("test_*.py"))),
            )
            if there
        ),
        None,
    )
    if source is not None:
        yield Task(
            name="test",
            description="Run the tests with pytest",
            command=(*_pytest(directory, tools), "{path}"),
            params=("path: {type: string, description: 'Only this file, directory or test'}",),
            source=source,
            timeout="30m",
        )
    files_of = {"tox": ("tox.ini", "tox.toml"), "nox": ("noxfile.py",)}
    for program, names in files_of.items():
        found = next((name for name in names if (directory / name).is_file()), None)
        if found is None and program in tools:
            found = "pyproject.toml"
        if found is not None:
            yield _tool(program, about=f"Run {program}", command=(program,), source=found)


def _pytest(directory: Path, tools: dict[str, Any]) -> tuple[str, ...]:
    """Return how this project runs pytest, as far as its files show it."""
    if (directory / "uv.lock").is_file():
        return ("uv", "run", "pytest")
    if (directory / "poetry.lock").is_file() or "poetry" in tools:
        return ("poetry", "run", "pytest")
    own = (directory / ".venv" / "bin" / "python").exists()
    return (".venv/bin/python" if own else "python3", "-m", "pytest")


def _scripts(directory: Path) -> Iterator[Task]:
    package = _json(directory / "package.json")
    scripts = package.get("scripts")
    manager = next((m for f, m in _LOCKS.items() if (directory / f).is_file()), "npm")
    for name, line in _some(scripts if isinstance(scripts, dict) else {}):
        if _HOOK.fullmatch(name) or not isinstance(line, str):
            continue
        yield Task(
            name=_name(name),
            description=f"{manager} run {name}: {line}"[:200],
            command=(manager, "run", name),
            source="package.json",
            active=not _SERVES.search(name),
            confirm=_is_grave(name, line),
        )


def _cargo(directory: Path) -> Iterator[Task]:
    if not _toml(directory / "Cargo.toml"):
        return
    for name, about in (("test", "Run the tests"), ("build", "Build it"), ("clippy", "Lint it")):
        yield Task(
            name=f"cargo_{name}",
            description=f"{about} with cargo",
            command=("cargo", name),
            source="Cargo.toml",
            timeout="30m",
        )


def _go(directory: Path) -> Iterator[Task]:
    makefile = any((directory / name).is_file() for name in _MAKEFILES)
    if makefile or not (directory / "go.mod").is_file():
        return
    for name, about in (("test", "Run the tests"), ("build", "Build it"), ("vet", "Vet it")):
        command = ("go", name, "./...")
        yield _tool(f"go_{name}", about=f"{about} with go", command=command, source="go.mod")


def _cmake(directory: Path) -> Iterator[Task]:
    text, source = _text(directory / "CMakeLists.txt"), "CMakeLists.txt"
    if not text:
        return
    commands = {
        "cmake_configure": ("Configure into build/", "cmake", "-S", ".", "-B", "build"),
        "cmake_build": ("Build what is configured in build/", "cmake", "--build", "build"),
    }
    if _HAS_TESTS.search(text):
        about = "Run the tests that were built in build/"
        commands["ctest"] = (about, "ctest", "--test-dir", "build", "--output-on-failure")
    for name, (about, *command) in commands.items():
        yield _tool(name, about=about, command=tuple(command), source=source)


def _maven(directory: Path) -> Iterator[Task]:
    if (directory / "pom.xml").is_file():
        program = "./mvnw" if (directory / "mvnw").is_file() else "mvn"
        for name, about in (("test", "Run the tests"), ("package", "Build the package")):
            command = (program, "--batch-mode", name)
            yield _tool(
                f"maven_{name}", about=f"{about} with Maven", command=command, source="pom.xml"
            )


def _gradle(directory: Path) -> Iterator[Task]:
    names = ("build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts")
    source = next((name for name in names if (directory / name).is_file()), None)
    if source is not None:
        program = "./gradlew" if (directory / "gradlew").is_file() else "gradle"
        for name, about in (("test", "Run the tests"), ("build", "Build and test it")):
            command = (program, "--console=plain", name)
            yield _tool(
                f"gradle_{name}", about=f"{about} with Gradle", command=command, source=source
            )


def _tool(name: str, *, about: str, command: tuple[str, ...], source: str) -> Task:
    return Task(name=name, description=about, command=command, source=source, timeout="30m")


def _make(directory: Path) -> Iterator[Task]:
    for file in _MAKEFILES:
        text = _text(directory / file)
        targets: dict[str, str] = {}
        for line in text.splitlines():
            match = _TARGET.match(line)
            if match and "%" not in line.partition(":")[0]:
                about = _HELP.search(line)
                for target in line.partition(":")[0].split():
                    targets.setdefault(target, about[1].strip() if about else f"make {target}")
        for target, about in _some(targets):
            if "/" in target or "." in target:
                continue
            yield _recipe("make", target, about=about, source=file)
        if text:
            return


def _just(directory: Path) -> Iterator[Task]:
    for file in ("justfile", "Justfile", ".justfile"):
        text = _text(directory / file)
        above, attributes, recipes = "", "", dict[str, tuple[str, str]]()
        for line in text.splitlines():
            match, attribute = _RECIPE.match(line), _ATTRIBUTES.match(line)
            if match and not (
                match[1].startswith("_") or re.search(r"\bprivate\b", _QUOTED.sub("", attributes))
            ):
                doc = _DOC.search(attributes)
                recipes[match[1]] = (doc[2] if doc else above or f"just {match[1]}", attributes)
            if attribute:
                # They stand between a recipe and its comment.
                attributes += f" {attribute[1]}"
                continue
            above, attributes = line.lstrip("# ").strip() if line.startswith("#") else "", ""
        for recipe, (about, said) in _some(recipes):
            task = _recipe("just", recipe, about=about, source=file)
            if re.search(r"\bconfirm\b", _QUOTED.sub("", said)):
                # just itself would ask, and nobody could answer.
                task = replace(task, command=("just", "--yes", recipe), confirm=True)
            yield task
        if text:
            return


def _recipe(program: str, name: str, *, about: str, source: str) -> Task:
    return Task(
        name=_name(name),
        description=about,
        command=(program, name),
        source=source,
        active=not _SERVES.search(name),
        confirm=_is_grave(name),
    )


def _is_grave(name: str, line: str = "") -> bool:
    """Say whether a task publishes, releases, deploys, resets or drops something.

    Options do not count: `cargo build --release` only builds.
    """
    words = [name, *(word for word in line.split() if not word.startswith("-"))]
    return any(_GRAVE.search(_CAMEL.sub(" ", word)) for word in words)


def _some(found: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(found.items())[:_MOST_OF_A_KIND]


def _name(text: str) -> str:
    name = _NOT_A_NAME.sub("_", text).strip("_-")[:64]
    return name if name[:1].isalpha() else f"job_{name}"[:64]


def _literal(part: str) -> str:
    """Double the braces that are no placeholder of ours."""
    return part if part == "{path}" else part.replace("{", "{{").replace("}", "}}")


def _quoted(text: str) -> str:
    return json.dumps(" ".join(text.split()), ensure_ascii=False)


def _text(path: Path) -> str:
    try:
        # A FIFO of that name would be waited for.
        fd = files.open_file(os.path.realpath(path), owned=False)
        with open(fd, encoding="utf-8", errors="replace") as file:
            return file.read(_BYTES)
    except OSError:
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path) or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError:
        return {}
