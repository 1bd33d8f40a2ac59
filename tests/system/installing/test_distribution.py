"""What is published is whole, valid, and runs in an environment that has nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

import mcp_jobs
from scripts import bundle
from tests.support import run
from tests.unit.project.test_docs import TOOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support import Place

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
MCPB = "@anthropic-ai/mcpb@2.1.2"
SCHEMA = json.loads((ROOT / "tests/schemas/server-2025-12-11.json").read_text("utf-8"))
SERVER: dict[str, Any] = json.loads((ROOT / "server.json").read_text("utf-8"))

needs_npm = pytest.mark.skipif(
    shutil.which("npx") is None, reason="npm is not here; install Node.js to check the bundle"
)


def _run(*command: str | Path, **options: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _clean_environment(place: Place) -> dict[str, str]:
    """Nothing of this environment but where packages come from."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PIP_", "UV_", "SSL_", "XDG_CACHE")) or name in ("PATH", "HOME", "LANG")
    }
    return {**kept, **place.environment()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from it."""
    directory = tmp_path_factory.mktemp("dist")
    lock = ("--build-constraints", ROOT / "requirements/build.txt", "--require-hashes")
    _run(BIN / "uv", "build", "--quiet", *lock, "--out-dir", directory, ROOT)
    return directory


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def _sources(*parts: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for part in parts
        for path in ([ROOT / part] if (ROOT / part).is_file() else (ROOT / part).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_registry_entry_is_valid() -> None:
    validator = jsonschema.Draft7Validator(SCHEMA)
    validator.validate(SERVER)
    assert SERVER["$schema"] == SCHEMA["$id"]
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**SERVER, "name": "no slash"})


def test_the_readme_names_the_registry_entry() -> None:
    assert f"mcp-name: {SERVER['name']}" in (ROOT / "README.md").read_text("utf-8")


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    info = f"mcp_jobs-{mcp_jobs.__version__}.dist-info"
    about = {f"{info}/{n}" for n in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    assert names == _sources("mcp_jobs") | about | {f"{info}/licenses/LICENSE"}


def test_the_sdist_holds_what_is_needed_to_build_and_test(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    wanted = _sources(
        *("mcp_jobs", "tests", "docs", "examples", "scripts", "benchmarks", "requirements"),
        *("README.md", "LICENSE", "CHANGELOG.md", "Makefile", "pyproject.toml", "server.json"),
    )
    assert wanted - names == set()
    assert {name.partition("/")[0] for name in names - wanted} == {
        *("PKG-INFO", "CONTRIBUTING.md", "SECURITY.md", ".gitignore"),
        *("Dockerfile", ".dockerignore", "compose.yaml"),
    }


def test_the_distributions_are_fit_for_the_index(built: Path) -> None:
    told = _run(
        sys.executable, "-m", "twine", "check", "--strict", *sorted(built.glob("mcp_jobs-*"))
    )
    assert told.count("PASSED") == 2


async def test_the_wheel_serves_from_an_environment_of_its_own(wheel: Path, place: Place) -> None:
    uvx: list[str | Path] = [BIN / "uv", "tool", "run", "--no-config", "--from", wheel, "mcp-jobs"]
    environ = _clean_environment(place)
    assert _run(*uvx, "--version", env=environ) == f"mcp-jobs {mcp_jobs.__version__}\n"
    assert _run(*uvx, "list", "--json", env=environ, cwd="/").startswith('{"jobs": []')
    printed = json.loads(_run(*uvx, "install", "cursor", "--print", env=environ, cwd="/"))
    entry = printed["mcpServers"]["jobs"]
    assert (Path(entry["command"]).name, entry["args"]) == ("uvx", ["mcp-jobs"])
    await _serves([str(part) for part in uvx], environ, place)


@pytest.fixture(scope="module")
def bundle_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.write(tmp_path_factory.mktemp("bundle"))


def test_the_bundle_is_the_same_each_time(bundle_file: Path, tmp_path: Path) -> None:
    assert bundle.write(tmp_path).read_bytes() == bundle_file.read_bytes()


def test_the_bundle_holds_the_package_and_says_so(bundle_file: Path) -> None:
    with zipfile.ZipFile(bundle_file) as opened:
        names = set(opened.namelist())
        manifest = json.loads(opened.read("manifest.json"))
    made = {"manifest.json", "pyproject.toml", "server.py", "LICENSE", "README.md"}
    assert names == _sources("mcp_jobs") | made
    assert (manifest["manifest_version"], manifest["server"]["type"]) == ("0.4", "uv")
    assert manifest["version"] == mcp_jobs.__version__
    assert [tool["name"] for tool in manifest["tools"]] == list(TOOLS)


@needs_npm
def test_the_official_tool_accepts_the_bundle(bundle_file: Path, tmp_path: Path) -> None:
    mcpb = ("npx", "--yes", MCPB)
    _run(*mcpb, "unpack", bundle_file, tmp_path / "b")
    assert "validation passes" in _run(*mcpb, "validate", tmp_path / "b/manifest.json")
    (tmp_path / "b/manifest.json").write_text('{"manifest_version": "0.4"}')
    with pytest.raises(AssertionError, match="name: Required"):
        _run(*mcpb, "validate", tmp_path / "b/manifest.json")


async def test_the_bundle_serves_as_its_manifest_says(bundle_file: Path, place: Place) -> None:
    directory = place.root / "bundle"
    with zipfile.ZipFile(bundle_file) as opened:
        opened.extractall(directory)  # noqa: S202 - made by us just now
        config = json.loads(opened.read("manifest.json"))["server"]["mcp_config"]
    assert config["command"] == "uv"
    arguments = [part.replace("${__dirname}", str(directory)) for part in config["args"]]
    await _serves([str(BIN / "uv"), *arguments], _clean_environment(place), place)


async def _serves(command: list[str], environ: Mapping[str, str], place: Place) -> None:
    parameters = StdioServerParameters(
        command=command[0], args=command[1:], env=dict(environ), cwd=place.project
    )
    async with Client(parameters) as client:
        job = await run(client, "echo from a clean environment")
    assert job["output"]["text"] == "from a clean environment\n"
