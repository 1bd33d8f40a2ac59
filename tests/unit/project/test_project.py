"""The project keeps its own rules: dependencies, one version, a light import, source rules."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import mcp_jobs

ROOT = Path(__file__).resolve().parents[3]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
SERVER: dict[str, Any] = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))


def test_every_dependency_has_a_reason_and_every_reason_a_dependency() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| (.{9,}) \| (.{5,}) \|$", text, flags=re.MULTILINE)
    explained = [name for name, _, _ in rows]
    extras = PROJECT["optional-dependencies"].values()
    asked = [
        *PYPROJECT["build-system"]["requires"],
        *PROJECT["dependencies"],
        *(requirement for extra in extras for requirement in extra),
    ]
    own = f"{PROJECT['name']}["
    python = {_name_of(requirement) for requirement in asked if not requirement.startswith(own)}
    npm = [json.loads(path.read_text("utf-8")) for path in ROOT.glob("tests/*/package.json")]
    wanted = python.union(*(package["dependencies"] for package in npm))
    # Rows that name several packages are not looked at: Node for each platform.
    assert sorted(explained) == sorted(wanted)


def test_the_version_is_written_once_and_the_registry_entry_agrees() -> None:
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "mcp_jobs/__init__.py"
    assert SERVER["version"] == mcp_jobs.__version__
    assert [p["version"] for p in SERVER["packages"]] == [mcp_jobs.__version__]
    assert [p["identifier"] for p in SERVER["packages"]] == [PROJECT["name"]]


@pytest.mark.parametrize("name", mcp_jobs.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(mcp_jobs, name) is not None
    assert name in dir(mcp_jobs)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mcp_jobs.nothing


def _name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return match.group()
