"""The bundle takes what git lists, and nothing else that lies in the checkout."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from scripts import bundle

if TYPE_CHECKING:
    from pathlib import Path


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "mcp_jobs").mkdir()
    for name in ("LICENSE", "README.md", "mcp_jobs/__init__.py", "other.py"):
        (tmp_path / name).write_text(f"{name}\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    return tmp_path


def test_a_stray_file_is_not_in_the_bundle(checkout: Path) -> None:
    before = bundle.contents(checkout)
    for name in (".env", "mcp_jobs/.env", "mcp_jobs/credentials.json", "mcp_jobs/new.py"):
        (checkout / name).write_text("TOKEN=hunter2\n")
    after = bundle.contents(checkout)

    assert after == before
    assert after["mcp_jobs/__init__.py"] == b"mcp_jobs/__init__.py\n"
    made = {"manifest.json", "pyproject.toml", "server.py"}
    assert set(after) == made | {"LICENSE", "README.md", "mcp_jobs/__init__.py"}


def test_no_bundle_is_made_where_git_lists_nothing(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("a license\n")
    with pytest.raises(SystemExit, match="made from a git checkout"):
        bundle.contents(tmp_path)
