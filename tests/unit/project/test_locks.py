"""Release builds and the image install locked versions, and the locks cover what is needed."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.lock import LOCKS, requirements
from tests.markdown import ROOT
from tests.packages import needed

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def locked(name: str) -> dict[str, tuple[Requirement, int]]:
    """Each package of a lock, with the number of its hashes."""
    text = (LOCKS / f"{name}.txt").read_text("utf-8").replace("\\\n", " ")
    found: dict[str, tuple[Requirement, int]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line.partition("--hash")[0])
            hashes = len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", line))
            found[canonicalize_name(requirement.name)] = (requirement, hashes)
    return found


@pytest.mark.parametrize("name", requirements())
def test_a_lock_has_one_version_with_hashes_of_all_that_is_asked_for(name: str) -> None:
    lock = locked(name)
    for requirement in map(Requirement, requirements()[name]):
        chosen, _ = lock[canonicalize_name(requirement.name)]
        (pin,) = chosen.specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), chosen
    assert [str(requirement) for requirement, hashes in lock.values() if not hashes] == []


def test_the_lock_has_what_the_dependencies_themselves_need() -> None:
    assert set(needed("http")) - set(locked("run")) == set()


@pytest.mark.parametrize("name", requirements())
def test_a_lock_names_no_place_to_get_packages_from(name: str) -> None:
    text = (LOCKS / f"{name}.txt").read_text("utf-8")
    assert re.findall(r"://|^-|index|find-links", text, re.MULTILINE) == []


def test_the_image_installs_nothing_that_is_not_locked() -> None:
    installs = re.findall(r"bin/pip (?:install|wheel) (.*?)(?: \\| \.)?$", DOCKERFILE, re.MULTILINE)
    assert len(installs) == 4
    for install in installs:
        assert "--require-hashes -r requirements/" in install or "--no-deps" in install
    assert "--no-build-isolation" in DOCKERFILE
    assert {f"requirements/{name}.txt" for name in requirements()} == set(
        re.findall(r"requirements/\w+\.txt", DOCKERFILE)
    )


def test_a_release_is_built_with_the_locked_backend_from_what_is_committed() -> None:
    recipe = MAKEFILE.partition("\ndist:")[2].partition("\n\n")[0].replace("\\\n", "")
    (clone, build) = re.findall(r"@(git clone .*|\S*uv build .*)", recipe)
    assert clone.endswith(". build/release")
    assert "--require-hashes" in build
    assert "--build-constraints build/release/requirements/build.txt build/release" in re.sub(
        r"\s+", " ", build
    )
