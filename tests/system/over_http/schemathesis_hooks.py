"""Loaded by schemathesis: nobody waits for the end of a job, or the run would take hours."""

from typing import Any

import schemathesis


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Ask for the answer at once."""
    return _at_once(body)


@schemathesis.hook
def map_query(context: Any, query: Any) -> Any:
    """Ask for the answer at once."""
    return _at_once(query)


def _at_once(given: Any) -> Any:
    # What is not a number of seconds stays: it must be refused.
    if not isinstance(given, dict) or type(given.get("wait_seconds")) not in (int, float):
        return given
    return {**given, "wait_seconds": 0} if 0 <= given["wait_seconds"] <= 50 else given
