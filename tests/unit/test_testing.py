"""The help for tests of Python jobs shows what a job did, as an agent would see it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from mcp_jobs import DeclinedError, JobCancelledError, RetryableError
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.testing import Progress, UnansweredError, run_job, run_job_async
from tests.system import python_app as app


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions write into their directory, which is the test's own here."""
    monkeypatch.chdir(tmp_path)


def test_a_run_has_result_progress_and_logs() -> None:
    run = run_job(app.total, {"numbers": [1, 2], "scale": 2})

    assert (run.outcome, run.result, run.error) == ("completed", {"count": 2, "sum": 6.0}, None)
    assert run.progress == [
        Progress(current=1, total=2, message="added 1.0"),
        Progress(current=2, total=2, message="added 2.0"),
    ]
    assert run.logs == ["all added"]
    run.raise_error()


def test_an_async_function_is_run_to_its_end() -> None:
    assert run_job(app.doze, attempt=3).result == "attempt 3 of test"


async def test_questions_are_answered_by_message_or_key_and_asked_once() -> None:
    answers = {"Are you sure?": True, "Really?": False}
    run = await run_job_async(app.asks_and_fails, attempt=2, answers=answers)
    form = run_job(app.region, answers={"region": {"region": "eu"}})
    model = run_job(app.region, answers={"Which region?": app.Region(region="us")})

    assert run.result == ["sure True", "really False"]
    assert [question.message for question in run.questions] == ["Are you sure?", "Really?"]
    assert (form.result, model.result) == ("eu/small", "us/small")


def test_a_question_without_an_answer_fails_the_test_with_what_to_write() -> None:
    with pytest.raises(UnansweredError, match=r"answers=\{'Which region\?': \.\.\.\}"):
        run_job(app.region)


def test_a_declined_form_cancels_the_job() -> None:
    run = run_job(app.region, answers={"region": False})

    assert run.outcome == "cancelled"
    assert isinstance(run.error, DeclinedError)


def test_what_a_job_raises_is_kept_with_what_it_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    broken = run_job(app.broken)
    flaky = run_job(app.flaky, {"fail": 9, "after": 30})

    assert (broken.outcome, str(broken.error)) == ("failed", "it cannot work: ünlucky")
    assert (flaky.outcome, flaky.retry_after_s) == ("retrying", 30)
    with pytest.raises(RetryableError, match="not yet"):
        flaky.raise_error()


def test_a_job_is_told_to_stop_after_so_much_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = run_job(app.until_cancelled, cancel_after=1)
    asking = run_job(app.region, cancel_after=0)

    assert (run.outcome, run.logs) == ("cancelled", ["cleaning up"])
    assert asking.outcome == "cancelled"
    assert isinstance(asking.error, JobCancelledError)


def test_another_attempt_finds_what_the_first_kept(tmp_path: Path) -> None:
    run = run_job(app.keep, {"text": "kept"}, workdir=tmp_path / "work")

    assert run.workdir == tmp_path / "work"
    assert Path(run.result).read_text() == "kept"


def test_parameters_and_functions_that_do_not_fit_are_the_tests_fault() -> None:
    with pytest.raises(ValidationError, match="numbers"):
        run_job(app.total, {})
    with pytest.raises(InvalidInputError, match=r"decorate it with @jobs\.job"):
        run_job(app.note, {})
