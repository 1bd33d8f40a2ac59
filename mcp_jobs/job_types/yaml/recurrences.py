"""What an entry says about when it is started by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain.schedules import LONGEST_CATCHUP_S, OVERLAPS, Recurrence, recurrence
from mcp_jobs.job_types.registry import check_scheduled
from mcp_jobs.job_types.yaml.parser import Scalar

if TYPE_CHECKING:
    from mcp_jobs.job_types.registry import Params
    from mcp_jobs.job_types.yaml.node import Place

SCHEDULE_KEYS: Final = ("cron", "timezone", "params", "overlap", "catchup_seconds")


def read_schedule(place: Place, params: Params) -> Recurrence:
    """Return when a type is started: a cron expression, or a mapping with one."""
    fields = {"cron": place} if isinstance(place.node, Scalar) else place.fields(SCHEDULE_KEYS)
    if "cron" not in fields:
        raise place.error('cron is missing: five fields, such as "0 3 * * *" for 3:00 every day')
    given = _params(fields["params"]) if "params" in fields else {}
    try:
        check_scheduled(params, given)
    except ValueError as error:
        at = fields.get("params", place)
        raise at.error(f"the job could not be started with these params: {error}") from None
    try:
        found = recurrence(
            fields["cron"].text(),
            timezone=fields["timezone"].text() if "timezone" in fields else None,
            params=given,
            overlap=fields["overlap"].choice(OVERLAPS) if "overlap" in fields else None,
            catchup_s=_catchup_s(fields["catchup_seconds"])
            if "catchup_seconds" in fields
            else None,
        )
    except ValueError as error:
        raise place.error(str(error)) from None
    return found


def _params(place: Place) -> dict[str, Any]:
    return {name: value.scalar() for name, value in place.entries().items()}


def _catchup_s(place: Place) -> float:
    return float(place.integer(at_least=0, at_most=int(LONGEST_CATCHUP_S)))
