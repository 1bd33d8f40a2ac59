"""What passes between a Python job and whoever cares for it, by files of the job's directory."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.execution.base import Report
from mcp_jobs.execution.launcher import files, layout
from mcp_jobs.execution.launcher.files import OddFileError
from mcp_jobs.execution.launcher.mask import mask_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


_ASKED_AT_ONCE: Final = 32
_QUESTION_BYTES: Final = 1 << 18
_LONGEST_PAUSE_S: Final = 366 * 24 * 3600


def is_python_job(job_dir: Path) -> bool:
    """Say whether the job is a Python function and leaves a report."""
    return os.path.lexists(job_dir / layout.CALL)


def read_report(job_dir: Path, token: int, secrets: Sequence[bytes]) -> Report | None:
    """Return the report of the attempt with this claim token, with `secrets` masked.

    None when there is none, which is how a function looks that was killed or left by `os._exit`.
    What is no report, and only the job can have put there, says that the function failed.
    """
    name = layout.report_name(token)
    try:
        fields = layout.read_json(str(job_dir / name))
        return None if fields is None else _report(fields, secrets)
    except OddFileError as odd:
        problem = str(odd)
    except (KeyError, TypeError, ValueError, RecursionError):
        problem = f"the file {name} holds something else"
    text = f"The job has damaged the report of its end: {problem}."
    # Whether the function was told to stop, nobody knows but the runner, whose word then counts.
    return Report(came_to="raised", result=None, error=text, after_s=None, stopped=True)


def _report(fields: Mapping[str, Any], secrets: Sequence[bytes]) -> Report:
    came_to, error, after_s = fields["came_to"], fields.get("error"), fields.get("after_s")
    if came_to not in ("returned", "raised", "retry", "declined"):
        raise ValueError(came_to)
    if not (isinstance(error, str | None) and isinstance(after_s, int | float | None)):
        raise TypeError
    if after_s is not None and not 0 <= after_s <= _LONGEST_PAUSE_S:
        raise ValueError(after_s)
    return Report(
        came_to=came_to,
        result=_masked(fields.get("result"), secrets),
        error=_masked(error, secrets),
        after_s=after_s,
        stopped=bool(fields["stopped"]),
    )


def read_questions(job_dir: Path, secrets: Sequence[bytes]) -> dict[str, Mapping[str, Any]]:
    """Return what the job asks and has no answer to, by file name, with `secrets` masked."""
    found: dict[str, Mapping[str, Any]] = {}
    for name in layout.unanswered(str(job_dir)):
        if len(found) >= _ASKED_AT_ONCE:
            break
        with contextlib.suppress(OSError, ValueError, RecursionError):
            data = files.read_file(job_dir / layout.QUESTIONS / name, limit_bytes=_QUESTION_BYTES)
            fields = json.loads(data)
            if isinstance(fields, dict):
                found[name] = _masked(fields, secrets)
    return found


def deliver_answer(job_dir: Path, key: str, answer: Mapping[str, Any]) -> None:
    """Let the job have an answer; again is fine. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        (job_dir / layout.ANSWERS).mkdir(mode=layout.PRIVATE_DIR)
    # Through no link: who has no right to write elsewhere must not have it done.
    directory = files.open_directory(job_dir / layout.ANSWERS)
    try:
        layout.write_json(layout.question_name(key), answer, dir_fd=directory)
    finally:
        os.close(directory)


def waits_for_answer(job_dir: Path) -> bool:
    """Say whether the job has asked something that it has no answer to."""
    return bool(layout.unanswered(str(job_dir)))


def _masked(value: Any, secrets: Sequence[bytes]) -> Any:
    """Mask every text in a JSON value."""
    if isinstance(value, str):
        return mask_text(value, secrets)
    if isinstance(value, list):
        return [_masked(item, secrets) for item in value]
    if isinstance(value, dict):
        return {_masked(name, secrets): _masked(item, secrets) for name, item in value.items()}
    return value
