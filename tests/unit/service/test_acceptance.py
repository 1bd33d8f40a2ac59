"""From a request and its type to the job that is stored: its order, its locks, what it is like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.execution.base import Origin
from mcp_jobs.execution.shells import Shells
from mcp_jobs.job_types.registry import Registry, shell_type
from mcp_jobs.service.acceptance import Acceptor
from mcp_jobs.service.requests import StartJob
from mcp_jobs.settings import Settings
from tests.contracts.serving import work_type
from tests.stores import HERE, OWNER

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_jobs.domain.models import NewJob
    from mcp_jobs.job_types.registry import JobType

SHELLS = Shells(default="sh", bash=None)


def acceptor(tmp_path: Path, *types: JobType) -> Acceptor:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return Acceptor(
        registry=Registry([shell_type(SHELLS), *types]),
        settings=Settings(home=home),
        clock=SystemClock(),
        origin=Origin(
            locality=HERE,
            shared=False,
            environ={},
            umask=0o022,
            rlimit_nofile=None,
            shells=SHELLS,
            here="home boot",
        ),
    )


def drafted(tmp_path: Path, *types: JobType, **asked: Any) -> NewJob:
    given = {"cwd": str(tmp_path), "params": {"command": "true"}, **asked}
    if given.get("type") == "work":
        del given["cwd"], given["params"]
    return acceptor(tmp_path, *types).draft(OWNER, StartJob(**given))


@pytest.mark.parametrize(
    ("asked", "stored"), [({}, 7), ({"priority": 0}, 0), ({"priority": -3}, -3)]
)
def test_the_priority_of_the_caller_wins_over_that_of_the_type(
    tmp_path: Path, asked: dict[str, int], stored: int
) -> None:
    assert drafted(tmp_path, work_type(priority=7), type="work", **asked).priority == stored


def test_the_locks_of_the_type_always_hold_and_those_of_the_caller_are_added(
    tmp_path: Path,
) -> None:
    declared = work_type(locks=("gpu", "build"))
    new = drafted(tmp_path, declared, type="work", locks=["db", "gpu"])
    assert new.locks == ("build", "db", "gpu")
    assert drafted(tmp_path, declared, type="work").locks == ("build", "gpu")


def test_more_locks_than_a_job_may_hold_are_refused(tmp_path: Path) -> None:
    declared = work_type(locks=("gpu", "build"))
    with pytest.raises(InvalidInputError, match="would hold 9, 2 of them its own"):
        drafted(tmp_path, declared, type="work", locks=list("abcdefg"))


def test_a_lock_of_a_project_is_the_same_wherever_in_it_a_job_runs(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    (shop / "src" / "deep").mkdir(parents=True)
    (shop / ".git").write_text("gitdir: elsewhere\n")
    (tmp_path / "link").symlink_to(shop / "src")

    for folder in ("shop", "shop/src/deep", "link", "link/deep"):
        new = drafted(tmp_path, cwd=str(tmp_path / folder), locks=["db of {project}", "gpu"])
        assert new.locks == (f"db of {shop}", "gpu")


def test_the_name_of_a_project_that_a_screen_would_obey_is_written_out(tmp_path: Path) -> None:
    odd = tmp_path / "a\x1b[2J\n"
    (odd / ".git").mkdir(parents=True)
    (lock,) = drafted(tmp_path, cwd=str(odd), locks=["{project}"]).locks
    assert lock == f"{tmp_path}/a\\u001b[2J\\u000a"


def test_capacities_are_those_declared_for_the_locks_of_the_job(tmp_path: Path) -> None:
    types = (
        work_type(capacities={"gpu": 3, "{project} db": 2, "other": 5}),
        work_type(name="more", capacities={"gpu": 2}),
    )
    accepting = acceptor(tmp_path, *types)
    (tmp_path / "jobs.yaml").touch()
    asked: dict[str, Any] = {"params": {"command": "true"}, "cwd": str(tmp_path)}
    new = accepting.draft(OWNER, StartJob(**asked, locks=["gpu", "{project} db", "free"]))
    assert accepting.capacities(new) == {"gpu": 2, f"{tmp_path} db": 2}
    assert accepting.capacities(accepting.draft(OWNER, StartJob(**asked))) == {}


def test_jobs_are_alike_by_type_params_directory_and_environment_alone(tmp_path: Path) -> None:
    base = drafted(tmp_path).likeness
    other: dict[str, Any] = {
        "title": "x", "priority": 3, "locks": ["a"], "if_running": "attach", "delay_seconds": 5,
        "timeout_seconds": 9, "max_retries": 2, "idempotency_key": "k", "after": ["x"],
    }  # fmt: skip
    assert drafted(tmp_path, **other).likeness == base != ""
    (tmp_path / "sub").mkdir()
    different: list[dict[str, Any]] = [
        {"params": {"command": "false"}},
        {"cwd": str(tmp_path / "sub")},
        {"env": {"A": "1"}},
        {"env": {"A": "2"}},
    ]
    found = {drafted(tmp_path, **each).likeness for each in different}
    assert len({base, *found}) == len(different) + 1


def test_a_likeness_with_a_secret_in_it_is_of_no_use_without_the_key_of_the_home(
    tmp_path: Path,
) -> None:
    asked: dict[str, Any] = {"env": {"API_TOKEN": "hunter2"}}
    first = drafted(tmp_path, **asked).likeness
    assert drafted(tmp_path, **asked).likeness == first
    (tmp_path / "home" / "fingerprint.key").unlink()
    assert drafted(tmp_path, **asked).likeness != first


def test_the_fingerprint_of_a_key_covers_the_order_and_stays_that_of_older_versions(
    tmp_path: Path,
) -> None:
    base = drafted(tmp_path, idempotency_key="k").fingerprint
    explicit: dict[str, Any] = {"priority": 0, "locks": [], "if_running": "start", "after": []}
    assert drafted(tmp_path, idempotency_key="k", **explicit).fingerprint == base
    changed: list[dict[str, Any]] = [
        {"priority": 1}, {"locks": ["a"]}, {"if_running": "attach"}, {"after": ["x"]},
        {"after_any_end": True},
    ]  # fmt: skip
    found = {drafted(tmp_path, idempotency_key="k", **each).fingerprint for each in changed}
    assert len({base, *found}) == len(changed) + 1


def test_what_a_job_waits_for_is_stored_once(tmp_path: Path) -> None:
    new = drafted(tmp_path, after=["b", "a", "b"], after_any_end=True, if_running="supersede")
    assert (new.after, new.after_any_end, new.if_running) == (("b", "a"), True, "supersede")
