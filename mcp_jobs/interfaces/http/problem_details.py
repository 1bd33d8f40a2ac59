"""Errors as problem details (RFC 9457)."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Route

from mcp_jobs.domain.errors import (
    InvalidInputError,
    JobsError,
    KeyConflictError,
    StoreBusyError,
    TooManyError,
    UnknownJobError,
    UnknownScheduleError,
    in_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fastapi import FastAPI
    from starlette.requests import Request

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

_STATUS_OF: Final[tuple[tuple[type[JobsError], int], ...]] = (
    (InvalidInputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (TooManyError, HTTPStatus.TOO_MANY_REQUESTS),
    (UnknownJobError, HTTPStatus.NOT_FOUND),
    (UnknownScheduleError, HTTPStatus.NOT_FOUND),
    (KeyConflictError, HTTPStatus.CONFLICT),
    (StoreBusyError, HTTPStatus.SERVICE_UNAVAILABLE),
    (JobsError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
_DETAIL_CHARS: Final = 2000
_SHOWN: Final = 10


class Problem(JSONResponse):
    """One problem; `code` is stable, `detail` is for a person."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        body = {
            "type": f"urn:mcp-jobs:problem:{code}",
            "title": HTTPStatus(status).phrase,
            "status": int(status),
            "detail": detail[:_DETAIL_CHARS],
            "code": code,
            **more,
        }
        super().__init__(body, status_code=int(status), headers=headers)


def install(app: FastAPI) -> None:
    """Make every error of the application a problem."""
    app.add_exception_handler(JobsError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_arguments)
    app.add_exception_handler(HTTPException, _of_routing)
    app.add_exception_handler(OSError, _of_the_system)
    app.add_exception_handler(Exception, _unforeseen)


def of_error(error: JobsError) -> Problem:
    """Return the problem that one of our errors is."""
    status = next(status for kind, status in _STATUS_OF if isinstance(error, kind))
    again = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
    headers = {"retry-after": "1"} if status in again else None
    return Problem(status, error.code, str(error), headers=headers)


def _of_ours(_: Request, error: Exception) -> Problem:
    assert isinstance(error, JobsError)  # noqa: S101 - what the handler is registered for
    return of_error(error)


def _of_arguments(_: Request, error: Exception) -> Problem:
    """A request that breaks the schema is a bad one; a value that only we can judge is not."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    found = list(error.errors())
    # What was sent is not repeated: it may hold a secret.
    problems = [
        {"where": ".".join(map(str, each["loc"])), "what": _what(each)} for each in found[:_SHOWN]
    ]
    detail = "; ".join(f"{each['where']}: {each['what']}" for each in problems) + "."
    judged = all(each["type"] == "value_error" for each in found)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if judged else HTTPStatus.BAD_REQUEST
    code = InvalidInputError.code if judged else "bad_request"
    return Problem(status, code, detail, errors=problems)


def _what(found: Any) -> str:
    return str(found["msg"]).removeprefix("Value error, ")[:_DETAIL_CHARS]


def _of_routing(request: Request, error: Exception) -> Problem:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    headers = error.headers
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(sorted(_methods_of(request)))}
    return Problem(error.status_code, code, str(error.detail), headers=headers)


def _methods_of(request: Request) -> set[str]:
    """Return the methods of every route of a path: a router names those of the first (RFC 9110)."""
    routes: Iterable[BaseRoute] = request.app.state.routes
    known = [route for route in routes if isinstance(route, Route)]
    matching = [r for r in known if r.matches(request.scope)[0] is not Match.NONE]
    return {method for route in matching for method in route.methods or ()}


def _of_the_system(_: Request, error: Exception) -> Problem:
    # The home is full, read-only or gone. Which file it was is no stranger's business.
    assert isinstance(error, OSError)  # noqa: S101 - as above
    logger.warning("the files cannot be used: %s", error)
    problem = in_words(error, with_file=False)
    return Problem(
        507, "files", f"The server cannot use its files now: {problem}. Nothing was lost."
    )


def _unforeseen(_: Request, error: Exception) -> Problem:
    # The server's log has the traceback; a stranger need not see it.
    return Problem(500, "internal", f"The server failed ({type(error).__name__}); see its log.")
