"""Check the rules of the source tree that no linter knows.

Usage: `python scripts/check_rules.py [ROOT]`. One line for each violation, exit status 1 if any:

- `file-size`: a Python or SQL file has more than 500 lines.
- `function-size`: a function has more than 60 lines, its docstring not counted.
- `shell`: a program is started through a shell.
- `environment`: the package reads the environment outside `settings.py`, `import_path.py`
  and `launcher/`.
- `signals`: the package sends a signal outside `launcher/` and `job_directory.py`.
- `launcher`: the launcher imports something that can start a thread.
- `pure`: the launcher or a pure module imports a package that is not in the standard library.
- `names`: two modules of the package have the same name.
- `store`: a test outside `tests/store/` names `SqliteStore`; it opens one by `tests/stores.py`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

TREES = ("mcp_jobs", "tests", "benchmarks", "scripts", "examples")
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60

SHELL_CALLS = {
    "asyncio.create_subprocess_shell",
    "os.popen",
    "os.system",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb"}
ENVIRONMENT_READERS = (
    "mcp_jobs/settings.py",
    "mcp_jobs/job_types/python/import_path.py",
    "mcp_jobs/execution/launcher/",
)
SIGNALS = {"os.kill", "os.killpg", "signal.pidfd_send_signal"}
SIGNAL_SENDERS = ("mcp_jobs/execution/launcher/", "mcp_jobs/execution/job_directory.py")

LAUNCHER = ("mcp_jobs/execution/launcher/",)
THREADS = {"_thread", "asyncio", "concurrent", "multiprocessing", "threading"}
PURE = (
    *LAUNCHER,
    "mcp_jobs/__init__.py",
    "mcp_jobs/domain/",
    "mcp_jobs/output/progress/",
    "mcp_jobs/output/summaries/",
)
IMPURE = {"mcp_jobs/domain/cron.py": "cronsim", "mcp_jobs/domain/patterns.py": "regex"}
"""Files of pure rooms that may use one package, as the standard library has nothing like it."""

NAMED_OFTEN = {"__init__", "__main__", "base"}
"""Names of modules that several rooms have; any other stands once in the package."""


STORE_CLASS = "SqliteStore"
STORE_KNOWERS = ("tests/store/", "tests/processes/project/test_source_rules.py")
"""Tests of the store, and of this rule."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One broken rule; `path` is relative to the checked root."""

    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A parsed Python file and what its imported names stand for."""

    path: str
    tree: ast.Module
    names: dict[str, str]

    def within(self, places: tuple[str, ...]) -> bool:
        """Say whether this is one of those files, or lies in one of those folders (`name/`)."""
        return any(self.path.startswith(p) if p.endswith("/") else self.path == p for p in places)

    def resolve(self, node: ast.expr) -> str | None:
        """Return the dotted name that an expression means, as far as the imports tell."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Attribute):
            base = self.resolve(node.value)
            return f"{base}.{node.attr}" if base else None
        return None

    def violation(self, node: ast.stmt | ast.expr, rule: str, message: str) -> Violation:
        """Return the violation that `node` is."""
        return Violation(path=self.path, line=node.lineno, rule=rule, message=message)


def function_size(source: Source) -> Iterator[Violation]:
    """Functions that are longer than the cap."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = _lines(node) - _docstring_lines(node)
            if lines > MAX_FUNCTION_LINES:
                message = f"{node.name} has {lines} lines, allowed are {MAX_FUNCTION_LINES}"
                yield source.violation(node, "function-size", message)


def shell(source: Source) -> Iterator[Violation]:
    """Calls that hand a command line to a shell."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        name = source.resolve(node.func)
        if name in SHELL_CALLS:
            yield source.violation(node, "shell", f"{name} starts a shell")
        if any(k.arg == "shell" and not _is_false(k.value) for k in node.keywords):
            yield source.violation(node, "shell", "shell=... is not allowed")


def environment(source: Source) -> Iterator[Violation]:
    """Uses of the environment where it must come from the settings."""
    if source.path.startswith("mcp_jobs/") and not source.within(ENVIRONMENT_READERS):
        message = "only settings.py reads the environment"
        yield from _uses(source, ENVIRONMENT, "environment", message)


def signals(source: Source) -> Iterator[Violation]:
    """Signals sent by a module that does not own processes."""
    if source.path.startswith("mcp_jobs/") and not source.within(SIGNAL_SENDERS):
        message = "only launcher/ and job_directory.py send signals"
        yield from _uses(source, SIGNALS, "signals", message)


def launcher(source: Source) -> Iterator[Violation]:
    """Imports that could start a thread in the process that forks."""
    if source.within(LAUNCHER):
        for node, package in _imports(source.tree):
            if package in THREADS:
                yield source.violation(node, "launcher", f"imports {package}: no threads here")


def pure(source: Source) -> Iterator[Violation]:
    """Outside packages in modules that have none."""
    if source.within(PURE):
        allowed = {"mcp_jobs", IMPURE.get(source.path)}
        for node, package in _imports(source.tree):
            if package not in allowed and package not in sys.stdlib_module_names:
                yield source.violation(node, "pure", f"imports {package}: standard library only")


RULES: tuple[Callable[[Source], Iterator[Violation]], ...] = (
    function_size,
    shell,
    environment,
    signals,
    launcher,
    pure,
)


def check(root: Path) -> list[Violation]:
    """Return every violation under `root`, in the order of paths and lines."""
    found: set[Violation] = set()
    for path in _files(root):
        relative = PurePosixPath(path.relative_to(root)).as_posix()
        text = path.read_text(encoding="utf-8")
        lines = len(text.splitlines())
        if lines > MAX_FILE_LINES:
            message = f"{lines} lines, allowed are {MAX_FILE_LINES}"
            found.add(Violation(path=relative, line=1, rule="file-size", message=message))
        if path.suffix == ".py":
            tree = ast.parse(text, filename=relative)
            source = Source(path=relative, tree=tree, names=_imported_names(tree))
            found.update(v for rule in RULES for v in rule(source))
    found.update((*_names(root), *_stores(root)))
    return sorted(found, key=lambda v: (v.path, v.line, v.rule, v.message))


def _names(root: Path) -> Iterator[Violation]:
    """Modules of the package that have the name of another one."""
    seen: dict[str, str] = {}
    for path in sorted((root / "mcp_jobs").rglob("*.py")):
        relative = PurePosixPath(path.relative_to(root)).as_posix()
        first = seen.setdefault(path.stem, relative)
        if first != relative and path.stem not in NAMED_OFTEN:
            yield Violation(path=relative, line=1, rule="names", message=f"named as {first} is")


def _stores(root: Path) -> Iterator[Violation]:
    """Tests that know which store a home has, in programs within strings as well."""
    for path in sorted((root / "tests").rglob("*.py")):
        relative = PurePosixPath(path.relative_to(root)).as_posix()
        if relative.startswith(STORE_KNOWERS):
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if STORE_CLASS in line:
                message = f"{STORE_CLASS}: only tests/store/ knows it"
                yield Violation(path=relative, line=number, rule="store", message=message)


def main(arguments: list[str]) -> int:
    """Print the violations under the given root (by default this project) and return a status."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    violations = check(root)
    for violation in violations:
        print(violation)
    print(f"{len(violations)} violations" if violations else "no violations")
    return 1 if violations else 0


def _files(root: Path) -> Iterator[Path]:
    for tree in TREES:
        for path in sorted((root / tree).rglob("*")):
            if path.suffix in {".py", ".sql"} and path.is_file():
                yield path


def _imported_names(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _imports(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield node, (node.module or "").partition(".")[0] if not node.level else "mcp_jobs"


def _uses(source: Source, banned: set[str], rule: str, message: str) -> Iterator[Violation]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = source.resolve(node)
            if name in banned:
                yield source.violation(node, rule, f"{name}: {message}")


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return _lines(node.body[0]) if ast.get_docstring(node, clean=False) is not None else 0


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
