"""What an entry says about when its jobs begin, and how they end: order, retries, limits."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from mcp_jobs.domain import gates
from mcp_jobs.domain.policy import Backoff, Policy, RetryOn
from mcp_jobs.domain.webhook_urls import checked_url
from mcp_jobs.job_types.yaml.node import Place
from mcp_jobs.job_types.yaml.parser import Scalar

RULE_KEYS: Final = (
    "retries",
    "progress",
    "success_codes",
    "output_limit",
    "detach",
    "webhook",
)
ORDER_KEYS: Final = ("priority", "locks")
_RETRY_KEYS: Final = ("count", "backoff", "delay", "on")
_ON_KEYS: Final = ("exit_codes", "output", "timeout", "signal", "interrupt")
_MOST_RETRIES: Final = 100
_LONGEST_DELAY_S: Final = 300.0
_STATES: Final = ("completed", "failed", "cancelled")


class Rules:
    """The policy of an entry, and how often and after what its jobs are tried again."""

    def __init__(self, fields: dict[str, Place]) -> None:
        self.max_retries = 0
        self.retry_on_interrupt = False
        self._backoff: Backoff = "exponential"
        self._delay_s: float | None = None
        self._on: RetryOn | None = None
        if "retries" in fields:
            self._read_retries(fields["retries"])
        self.policy = Policy(
            backoff=self._backoff,
            delay_s=self._delay_s,
            retry_on=self._on,
            success_codes=_codes(fields["success_codes"]) if "success_codes" in fields else (0,),
            progress=fields["progress"].pattern() if "progress" in fields else None,
            output_limit_bytes=(
                fields["output_limit"].size_bytes() if "output_limit" in fields else None
            ),
            detach=fields["detach"].boolean() if "detach" in fields else False,
            webhook=_webhook(fields["webhook"]) if "webhook" in fields else None,
        )

    def _read_retries(self, place: Place) -> None:
        if isinstance(place.node, Scalar):
            self.max_retries = place.integer(at_least=0, at_most=_MOST_RETRIES)
            return
        fields = place.fields(_RETRY_KEYS)
        if "count" not in fields:
            raise place.error("count is missing: how often a failed job is tried again")
        self.max_retries = fields["count"].integer(at_least=0, at_most=_MOST_RETRIES)
        if "backoff" in fields:
            linear = fields["backoff"].choice(("exponential", "linear")) == "linear"
            self._backoff = "linear" if linear else "exponential"
        if "delay" in fields:
            self._delay_s = fields["delay"].seconds()
            if self._delay_s > _LONGEST_DELAY_S:
                raise fields["delay"].error(f"at most {_LONGEST_DELAY_S:g} s are allowed")
        if "on" in fields:
            self._read_on(fields["on"])

    def _read_on(self, place: Place) -> None:
        fields = place.fields(_ON_KEYS)
        flags = {
            name: fields[name].boolean() if name in fields else False
            for name in ("timeout", "signal", "interrupt")
        }
        self.retry_on_interrupt = flags.pop("interrupt")
        output = fields["output"].one_or_more() if "output" in fields else ()
        self._on = RetryOn(
            exit_codes=_codes(fields["exit_codes"]) if "exit_codes" in fields else (),
            output=tuple(pattern.pattern() for pattern in output),
            **flags,
        )


def read_priority(place: Place) -> int:
    """Return the priority of an entry's jobs."""
    return place.integer(at_least=gates.LOWEST_PRIORITY, at_most=gates.HIGHEST_PRIORITY)


def read_locks(place: Place) -> tuple[str, ...]:
    """Return the locks that an entry's jobs hold."""
    names = tuple(_lock(item, item.text(), line=item.line) for item in place.one_or_more())
    if len(names) > gates.MOST_LOCKS:
        raise place.error(f"a job holds at most {gates.MOST_LOCKS} locks")
    return names


def read_capacities(place: Place) -> Mapping[str, int]:
    """Return how many jobs may hold each lock of a file at once."""
    return MappingProxyType(
        {
            _lock(place, name, line=place.line_of(name)): count.integer(
                at_least=1, at_most=gates.MOST_CAPACITY
            )
            for name, count in place.entries().items()
        }
    )


def _lock(place: Place, text: str, *, line: int) -> str:
    try:
        return gates.lock_name(text)
    except ValueError as error:
        raise place.error(str(error), line=line) from None


def _codes(place: Place) -> tuple[int, ...]:
    codes = tuple(item.integer(at_least=0, at_most=255) for item in place.one_or_more())
    if not codes:
        raise place.error("at least one exit code is needed here")
    return codes


def _webhook(place: Place) -> dict[str, Any]:
    if place.is_text():
        return {"url": _url(place), "on": list(_STATES)}
    fields = place.fields(("url", "on"))
    if "url" not in fields:
        raise place.error("url is missing")
    on = fields["on"].one_or_more() if "on" in fields else ()
    states = [item.choice(_STATES) for item in on] or list(_STATES)
    return {"url": _url(fields["url"]), "on": states}


def _url(place: Place) -> str:
    text = place.text()
    try:
        return checked_url(text)
    except ValueError as error:
        raise place.error(f"this URL cannot be used: {error}") from None
