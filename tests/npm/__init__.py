"""Programs from npm that tests run: Node itself, the official suite, foreign clients.

`python -m tests.npm` installs them. They lie in the user's cache, one directory for each lock file.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).resolve().parent
_FILES = ("package.json", "package-lock.json")
_INSTALL_BOUND_S = 900
_RUN_BOUND_S = 240


@dataclass(frozen=True)
class Node:
    """An installation."""

    root: Path

    @property
    def program(self) -> str:
        """Node 22: the one from npm, or the machine's where npm has none for it."""
        own = self.root / "node_modules" / ".bin" / "node"
        return str(own) if own.exists() else "node"

    def command(self, name: str, *arguments: str) -> list[str]:
        """Return the command line of an installed program."""
        return [self.program, str(self.root / "node_modules" / ".bin" / name), *arguments]

    def script(self, path: Path, *arguments: str) -> list[str]:
        """Return the command line of one of our scripts, which finds the packages."""
        # Imports are looked for next to the file that is run.
        copied = self.root / f"{path.stem}-{os.getpid()}.mjs"
        shutil.copy(path, copied)
        return [self.program, str(copied), *arguments]

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_RUN_BOUND_S, check=False, **options
        )


def installed() -> Node:
    """Return the installation, made if need be; skips the test where there is no npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not on this machine: the official suite and foreign clients need it")
    digest = hashlib.sha256(b"".join((_HERE / name).read_bytes() for name in _FILES))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcp-jobs-tests"
    root = cache / f"npm-{digest.hexdigest()[:16]}"
    root.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes, and one of them installs.
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "complete").exists():
            _install(npm, root)
            (root / "complete").touch()
    return Node(root)


def _install(npm: str, root: Path) -> None:
    for name in _FILES:
        shutil.copy(_HERE / name, root / name)
    subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=root,
        timeout=_INSTALL_BOUND_S,
        check=True,
    )
