"""Between rows and records."""

from __future__ import annotations

import json
import logging
from dataclasses import fields
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from mcp_jobs.domain.models import (
    Answer,
    Attempt,
    Job,
    JobOrigin,
    Launch,
    NewJob,
    Outcome,
    Progress,
    Question,
)
from mcp_jobs.domain.policy import DEFAULT, Policy, as_stored, from_stored
from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.store.base import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mcp_jobs.store.sqlite.connection import Row

logger = logging.getLogger(__name__)

_HUGE = 1e300

_CONVERTED = {
    "params", "policy", "status", "reason", "result", "retry_on_interrupt", "shared", "claimed_by",
    "progress", "locks", "after", "after_any_end", "cancel_reason", "origin",
}  # fmt: skip
_SAME_NAME = tuple(f.name for f in fields(Job) if f.name not in _CONVERTED)
_ATTEMPT_SAME_NAME = tuple(f.name for f in fields(Attempt) if f.name != "reason")


def job_from(row: Row) -> Job:
    """Return the record of a row of `jobs`."""
    return Job(
        **dict(zip(_SAME_NAME, _same(tuple(row.keys()))(row), strict=True)),
        params=mapping(row["params"]),
        policy=_policy(row["policy"]),
        status=Status(row["status"]),
        reason=_reason(row["reason"]),
        result=None if row["result"] is None else _loaded(row["result"]),
        retry_on_interrupt=bool(row["retry_on_interrupt"]),
        shared=bool(row["shared"]),
        # Empty: it waits to be confirmed.
        claimed_by=row["claimed_by"] or None,
        progress=None if row["progress"] is None else _progress(row["progress"]),
        locks=names(row["locks"]),
        after=names(row["after_ids"]),
        after_any_end=bool(row["after_any_end"]),
        cancel_reason=_reason(row["cancel_reason"]),
        origin=_origin(row["client_name"], row["client_version"], row["project"], row["session"]),
    )


@lru_cache(8)
def _same(columns: tuple[str, ...]) -> Callable[[Row], tuple[Any, ...]]:
    # By place: a row that is asked by name compares the names of its columns one by one.
    return itemgetter(*map(columns.index, _SAME_NAME))


@lru_cache(256)
def names(stored: str) -> tuple[str, ...]:
    """Return a list of texts; what is none is left out."""
    if stored == "[]":
        return ()
    found = _loaded(stored)
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) else ()


def counts_from(found: Mapping[str, Any]) -> dict[Status, int]:
    """Return how many jobs are in each state; states without jobs are left out."""
    return {state: found[state.value] for state in Status if found.get(state.value)}


@lru_cache(256)
def _origin(
    client_name: str | None, client_version: str | None, project: str | None, session: str | None
) -> JobOrigin:
    return JobOrigin(
        client_name=client_name, client_version=client_version, project=project, session=session
    )


@lru_cache(256)
def _policy(stored: str) -> Policy:
    # Jobs of one type have the same.
    try:
        return from_stored(mapping(stored))
    except (ValueError, TypeError, AttributeError) as error:
        logger.warning("the rules of a job make no sense (%s); the usual ones hold", error)
        return DEFAULT


def change_from(row: Row) -> Change:
    """Return what has changed."""
    told = row["status"]
    about: Literal["job", "gates", "schedules"] = "job"
    if told == "gates":
        about = "gates"
    elif told == "schedules":
        about = "schedules"
    return Change(
        seq=row["seq"],
        job_id=row["job_id"],
        owner=row["owner"],
        status=Status(told) if about == "job" else None,
        created=bool(row["created"]),
        about=about,
    )


def attempt_from(row: Row) -> Attempt:
    """Return the record of a row of `attempts`."""
    return Attempt(
        **{name: row[name] for name in _ATTEMPT_SAME_NAME}, reason=_reason(row["reason"])
    )


def new_job_parameters(new: NewJob) -> dict[str, Any]:
    """Return what `create_job` binds."""
    return {
        "id": new.id,
        "owner": new.owner,
        "locality": new.locality,
        "type": new.type,
        "params": json.dumps(dict(new.params)),
        "title": new.title,
        "cwd": new.cwd,
        "created_at_ms": new.created_at_ms,
        "run_at_ms": new.run_at_ms,
        "max_attempts": new.max_attempts,
        "timeout_s": new.timeout_s,
        "idle_timeout_s": new.idle_timeout_s,
        "retry_on_interrupt": new.retry_on_interrupt,
        "idempotency_key": new.idempotency_key,
        "fingerprint": new.fingerprint,
        "shared": new.shared,
        "webhooks": json.dumps([dict(hook) for hook in new.webhooks]) if new.webhooks else None,
        "policy": json.dumps(as_stored(new.policy)),
        "confirm": new.confirm,
        "launch": None if new.launch is None else launch_text(new.launch),
        "prepared_in": new.prepared_in,
        "priority": new.priority,
        "locks": json.dumps(new.locks),
        "after_ids": json.dumps(new.after),
        "after_any_end": new.after_any_end,
        "likeness": new.likeness,
        "if_running": new.if_running,
        "retry_of": new.retry_of,
        "parent_job_id": new.parent_job_id,
        "client_name": new.origin.client_name,
        "client_version": new.origin.client_version,
        "project": new.origin.project,
        "session": new.origin.session,
        "schedule": new.schedule,
        "fire_at_ms": new.fire_at_ms,
    }


def launch_text(launch: Launch) -> str:
    """Return the stored form of how a job is to be run."""
    return json.dumps({name: getattr(launch, name) for name in Launch.__slots__})


def launch_from(text: str) -> Launch | None:
    """Return how a job is to be run from its stored form; None when that makes no sense."""
    try:
        fields = mapping(text)
        limits = fields["rlimit_nofile"]
        return Launch(
            **{
                **fields,
                "argv": tuple(fields["argv"]),
                "secrets": tuple(fields["secrets"]),
                "rlimit_nofile": None if limits is None else (limits[0], limits[1]),
            }
        )
    except (KeyError, TypeError, IndexError) as error:
        logger.warning("how a job is to be run makes no sense: %r", error)
        return None


def question_from(row: Row) -> Question:
    """Return the record of a row of `questions`."""
    answer = None if row["answer"] is None else mapping(row["answer"])
    return Question(
        job_id=row["job_id"],
        key=row["key"],
        message=row["message"],
        schema=mapping(row["schema"]),
        asked_at_ms=row["asked_at_ms"],
        answer=None if answer is None else _answer(answer),
        answered_at_ms=row["answered_at_ms"],
    )


def question_parameters(question: Question) -> dict[str, Any]:
    """Return what `ask_question` binds, but for the claim."""
    return {
        "key": question.key,
        "message": question.message,
        "schema": json.dumps(dict(question.schema)),
        "asked_at_ms": question.asked_at_ms,
    }


def answer_text(answer: Answer) -> str:
    """Return the stored form of an answer."""
    return json.dumps({"action": answer.action, "content": dict(answer.content)})


def outcome_parameters(outcome: Outcome) -> dict[str, Any]:
    """Return what `settle_job` binds, but for the claim."""
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        # A job says both, and what cannot be stored must not keep it from ending.
        "error": None if outcome.error is None else _encodable(outcome.error),
        "result": None if outcome.result is None else _result_text(outcome.result),
        "started_at_ms": outcome.started_at_ms,
        "finished_at_ms": outcome.finished_at_ms,
        "output_start": outcome.output_start,
        "cpu_s": outcome.cpu_s,
        "memory_peak_bytes": outcome.memory_peak_bytes,
        "run_at_ms": outcome.run_at_ms,
    }


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _result_text(result: Any) -> str | None:
    try:
        return _encodable(json.dumps(result, allow_nan=False, ensure_ascii=False))
    except (ValueError, TypeError, RecursionError) as error:
        logger.warning("the result of a job is no JSON and is left out: %s", error)
        return None


def _loaded(text: str) -> Any:
    """Return a JSON value; None for what is none.

    The file may have been damaged, or written by something else: an odd row harms its own job at
    most, and never whoever lists or works on the others.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        logger.warning("a row of the job database holds what is no JSON")
        return None


def mapping(text: str) -> dict[str, Any]:
    """Return a stored object; an empty one for what is none."""
    found = _loaded(text)
    return found if isinstance(found, dict) else {}


def _answer(told: dict[str, Any]) -> Answer:
    content, action = told.get("content"), told.get("action")
    return Answer(
        action=action if action in ("accept", "decline", "cancel") else "cancel",
        content=content if isinstance(content, dict) else {},
    )


def _progress(text: str) -> Progress | None:
    told = mapping(text)
    numbers = {name: told.get(name) for name in ("current", "total", "percent", "ends_at_ms")}
    at_ms, message = told.get("updated_at_ms"), told.get("message")
    sound = all(value is None or _is_number(value) for value in numbers.values())
    if not sound or not isinstance(at_ms, int) or not isinstance(message, str | None):
        return None
    return Progress(**numbers, message=message, updated_at_ms=at_ms)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def progress_text(progress: Progress) -> str:
    """Return the stored form of a progress."""
    return json.dumps({name: getattr(progress, name) for name in Progress.__slots__})


def _reason(text: str | None) -> Reason | None:
    return None if text is None else Reason(text)
