"""What passes between a Python job and whoever cares for it, by files of the job's directory."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mcp_jobs.launcher import layout
from mcp_jobs.launcher.mask import Masker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the function of one attempt came to, as its process wrote it down."""

    came_to: Literal["returned", "raised", "retry", "declined"]
    result: Any
    error: str | None
    after_s: float | None
    """The pause that the job asks for before another attempt; None for the usual one."""
    stopped: bool
    """The job was already told to stop then."""


def is_python_job(job_dir: Path) -> bool:
    """Say whether the job is a Python function and leaves a report."""
    return (job_dir / layout.CALL).exists()


def read_report(job_dir: Path, token: int, secrets: Sequence[bytes]) -> Report | None:
    """Return the report of the attempt with this claim token, with `secrets` masked.

    None when there is none, which is how a function looks that was killed or left by `os._exit`.
    """
    fields = layout.read_json(str(job_dir / layout.report_name(token)))
    if fields is None:
        return None
    return Report(
        came_to=fields["came_to"],
        result=_masked(fields.get("result"), secrets),
        error=_masked(fields.get("error"), secrets),
        after_s=fields.get("after_s"),
        stopped=bool(fields["stopped"]),
    )


def read_questions(job_dir: Path, secrets: Sequence[bytes]) -> dict[str, Mapping[str, Any]]:
    """Return what the job asks and has no answer to, by file name, with `secrets` masked."""
    directory = job_dir / layout.QUESTIONS
    found = {
        name: layout.read_json(str(directory / name)) for name in layout.unanswered(str(job_dir))
    }
    return {name: _masked(fields, secrets) for name, fields in found.items() if fields is not None}


def deliver_answer(job_dir: Path, key: str, answer: Mapping[str, Any]) -> None:
    """Let the job have an answer; again is fine. Raises OSError."""
    directory = job_dir / layout.ANSWERS
    directory.mkdir(mode=layout.PRIVATE_DIR, exist_ok=True)
    layout.write_json(str(directory / layout.question_name(key)), answer)


def waits_for_answer(job_dir: Path) -> bool:
    """Say whether the job has asked something that it has no answer to."""
    return bool(layout.unanswered(str(job_dir)))


def forget_questions(job_dir: Path) -> None:
    """Let the next attempt ask for itself; the answers that were given stay."""
    shutil.rmtree(job_dir / layout.QUESTIONS, ignore_errors=True)


def _masked(value: Any, secrets: Sequence[bytes]) -> Any:
    """Mask every text in a JSON value."""
    if isinstance(value, str):
        masker = Masker(secrets)
        text = value.encode("utf-8", "surrogatepass")
        return (bytes(masker.feed(text)) + masker.flush()).decode("utf-8", "replace")
    if isinstance(value, list):
        return [_masked(item, secrets) for item in value]
    if isinstance(value, dict):
        return {_masked(name, secrets): _masked(item, secrets) for name, item in value.items()}
    return value
