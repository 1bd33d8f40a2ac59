"""What may be asked for: limits, defaults, and faults in words that a caller understands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mcp_jobs.domain.states import Status
from mcp_jobs.interfaces.mcp.rendering import problem_text
from mcp_jobs.service.requests import (
    CancelJob,
    CheckJob,
    ListJobs,
    Request,
    StartJob,
    check_directory,
)

if TYPE_CHECKING:
    from pathlib import Path

LIMITS: list[tuple[type[Request], str, float, float]] = [
    (StartJob, "wait_seconds", 0, 50),
    (StartJob, "max_retries", 0, 100),
    (StartJob, "delay_seconds", 0, 366 * 86400),
    (StartJob, "priority", -100, 100),
    (CheckJob, "wait_seconds", 0, 50),
    (CheckJob, "tail_lines", 0, 1000),
    (CheckJob, "after", 0, 2**62),
    (CancelJob, "grace_seconds", 0, 300),
    (ListJobs, "limit", 1, 100),
    (ListJobs, "wait_seconds", 0, 50),
]


def made(model: type[Request], **arguments: Any) -> Request:
    needed = {"job_id": "x"} if model in (CheckJob, CancelJob) else {}
    return model.model_validate({**needed, **arguments})


def problem(model: type[Request], **arguments: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        made(model, **arguments)
    return problem_text(model, caught.value)


@pytest.mark.parametrize(("model", "field", "least", "most"), LIMITS)
def test_a_number_is_taken_within_its_limits_only(
    model: type[Request], field: str, least: float, most: float
) -> None:
    for value in (least, most):
        assert getattr(made(model, **{field: value}), field) == value
    wrong: list[Any] = [least - 1, most + 1, -math.inf, math.inf, math.nan, True, "1", [], {}]
    for bad in wrong:
        assert problem(model, **{field: bad}).startswith(f"{field}: ")


@pytest.mark.parametrize("field", ["timeout_seconds", "idle_timeout_seconds"])
def test_a_time_limit_is_more_than_nothing_or_none(field: str) -> None:
    assert getattr(StartJob(), field) is None
    assert getattr(made(StartJob, **{field: 0.001}), field) == 0.001
    assert "greater than 0, not 0" in problem(StartJob, **{field: 0})


@given(st.text(max_size=50))
def test_a_title_is_one_line(text: str) -> None:
    try:
        title = StartJob(title=text).title
    except ValidationError:
        assert "\0" in text or any(0xD800 <= ord(c) < 0xE000 for c in text)
    else:
        assert title == " ".join(text.split())


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_an_environment_is_taken_when_the_system_can_pass_it(env: dict[str, str]) -> None:
    def passes(name: str, value: str) -> bool:
        good = name and "=" not in name and "\0" not in name + value
        return bool(good) and not any(0xD800 <= ord(c) < 0xE000 for c in name + value)

    if all(passes(name, value) for name, value in env.items()):
        assert StartJob(env=env).env == env
    else:
        assert problem(StartJob, env=env).startswith("env")


def test_a_directory_is_absolute_and_not_looked_for_before_the_type_is_known(
    tmp_path: Path,
) -> None:
    assert StartJob(cwd=f"{tmp_path}/x/..").cwd == str(tmp_path)
    assert StartJob(cwd="/no/such/place").cwd == "/no/such/place"
    assert "absolute path" in problem(StartJob, cwd="")
    assert "absolute path" in problem(StartJob, cwd="~")


def test_a_directory_that_a_job_can_be_started_in_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_directory(str(tmp_path))
    for name, told in (("no", "does not exist"), ("file", "is a file"), ("x" * 5000, "not exist")):
        with pytest.raises(ValueError, match=told) as caught:
            check_directory(str(tmp_path / name))
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "name", ["", " a", "a ", "x" * 65, "a\nb", "a\x1b[2J", "a\u202eb", "{projct}", "a}", "\ud800"]
)
def test_what_cannot_be_the_name_of_a_lock_is_refused_with_what_can(name: str) -> None:
    told = problem(StartJob, locks=["gpu", name])
    assert told.startswith("locks.1")
    assert "1 to 64 printable characters" in told
    assert told.isprintable()


def test_locks_and_parents_are_so_many_and_no_more() -> None:
    names = [f"db {n} of {{project}}" for n in range(8)]
    assert StartJob(locks=names).locks == names
    assert "locks" in problem(StartJob, locks=[*names, "x"])
    assert len(StartJob(after=["x"] * 32).after) == 32
    assert "after" in problem(StartJob, after=["x"] * 33)
    assert "'start', 'attach' or 'supersede'" in problem(StartJob, if_running="stop")


def test_states_are_one_or_several() -> None:
    assert ListJobs.model_validate({"status": "running"}).status is Status.RUNNING
    several = ListJobs.model_validate({"status": ["running", "failed"]}).status
    assert several == [Status.RUNNING, Status.FAILED]
    assert problem(ListJobs, status=["nope"]).startswith("status.0: input should be 'pending'")
    assert problem(ListJobs, status="nope").count("status") == 1


@pytest.mark.parametrize("model", [StartJob, CheckJob, CancelJob, ListJobs])
def test_what_is_not_listed_is_refused_and_named(model: type[Request]) -> None:
    fields = ", ".join(model.model_fields)
    text = problem(model, nope=1)
    assert text.startswith(f"There is no argument 'nope'; the arguments are {fields}.")


def test_many_faults_are_cut_short_and_a_secret_value_is_not_repeated() -> None:
    text = problem(StartJob, **{f"x{i}": 1 for i in range(20)})
    assert text.count("There is no argument") == 5
    assert text.endswith("There are 15 more problems.")
    secret = "hunter2" * 30_000
    assert "hunter2" not in problem(StartJob, env={"API_TOKEN": secret})


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        setattr(ListJobs(), "limit", 5)  # noqa: B010 - the type checker would refuse it otherwise
