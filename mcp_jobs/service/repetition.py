"""Start an ended job again: as a new job, with what the old one had and what is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.secrecy import MASKED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_jobs.domain.models import Job
    from mcp_jobs.domain.vocabulary import Vocabulary
    from mcp_jobs.service.requests import StartJob


def repeated(old: Job, request: StartJob, *, had_env: bool, say: Vocabulary) -> StartJob:
    """Return what starts `old` again, with what `request` gives in place of its own.

    Params are laid over the old ones, one by one. Raises `InvalidInputError` for a job that has not
    ended, and where something is missing that is not kept: secrets, and variables.
    """
    given = request.model_fields_set
    _refuse(old, request, say)
    params = {**old.params, **request.params}
    if secret := masked_in(params):
        raise InvalidInputError(
            f"Job {old.id} cannot be started again as it was: {', '.join(secret)} was secret and "
            "is not kept. Pass it again in params."
        )
    if had_env and "env" not in given:
        raise InvalidInputError(
            f"Job {old.id} cannot be started again as it was: variables were given with it, and "
            "they are not kept. Pass env again; an empty env starts it without them."
        )
    kept: dict[str, Any] = {
        "type": old.type,
        "cwd": old.cwd,
        "timeout_seconds": old.timeout_s,
        "idle_timeout_seconds": old.idle_timeout_s,
        "max_retries": old.max_attempts - 1,
        "retry_on_interrupt": old.retry_on_interrupt,
        "priority": old.priority,
        "locks": list(old.locks),
    }
    if not request.params:
        # Else it may tell of what is not so any more.
        kept["title"] = old.title
    changes = {name: value for name, value in kept.items() if name not in given}
    return request.model_copy(update={**changes, "params": params})


def _refuse(old: Job, request: StartJob, say: Vocabulary) -> None:
    if not old.ended:
        raise InvalidInputError(
            f"Job {old.id} has not ended, it is {old.status}; only an ended job is started again. "
            f"Wait for its end with {say.wait(old.id)}, or end it with {say.cancel(old.id)}."
        )
    if "type" in request.model_fields_set and request.type != old.type:
        raise InvalidInputError(
            f"Job {old.id} is of the type {old.type!r}, and so is what starts it again. Leave type "
            "out, or start another job without retry_of."
        )


def masked_in(params: Mapping[str, Any]) -> list[str]:
    """Return the parameters that hold a secret which is not kept."""
    return [name for name, value in params.items() if MASKED in _values(value)]


def _values(value: Any) -> list[Any]:
    """Return a value and all that is in it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(found for each in inner for found in _values(each))]
