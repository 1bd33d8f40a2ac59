"""What the routes have in common: who is asking, and how problems are described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from mcp_jobs.domain.origin import told_origin
from mcp_jobs.interfaces.http.auth.gate import principal_of
from mcp_jobs.interfaces.http.problem_details import MEDIA_TYPE

if TYPE_CHECKING:
    from mcp_jobs.domain.models import JobOrigin
    from mcp_jobs.interfaces.http.auth.tokens import Principal
    from mcp_jobs.interfaces.http.routes.state import Parts

TEXT: Final[dict[str, Any]] = {"text/plain": {"schema": {"type": "string"}}}
EVENTS: Final[dict[str, Any]] = {"text/event-stream": {"schema": {"type": "string"}}}
SEVERAL: Final = frozenset({"status", "job_id"})
"""Query parameters that may come more than once."""

BEARER: Final = Security(HTTPBearer(auto_error=False))
"""Tells the schema that a token is needed; the gate has checked it before any route is found."""

JobId = Annotated[str, Path(min_length=1, max_length=100, description="Id of a job.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request: who it is from, and what serves it."""

    principal: Principal
    parts: Parts

    @property
    def owner(self) -> str:
        """Whose jobs it may see."""
        return self.principal.owner

    @property
    def origin(self) -> JobOrigin:
        """Whose wish it is: that of the token, since what a User-Agent says need not be true."""
        return told_origin(client_name=self.principal.name)


def parts_of(request: Request) -> Parts:
    """Return the running parts."""
    parts: Parts = request.app.state.parts
    return parts


def given_once(request: Request) -> None:
    """Refuse a query that says the same thing twice: nobody could say which one is meant."""
    names = [name for name, _ in request.query_params.multi_items() if name not in SEVERAL]
    for name in names:
        if names.count(name) > 1:
            raise HTTPException(400, f"The parameter {name!r} may be given once only.")


ROUTES: Final = (BEARER, Depends(given_once))
"""What every route with a token depends on."""


def visit_of(request: Request) -> Visit:
    """Return who asks; what he may do the gate has checked, by the table of rights."""
    return Visit(principal=principal_of(request.scope), parts=parts_of(request))


Visitor = Annotated[Visit, Depends(visit_of)]


def problems(*statuses: int, closed: bool = True) -> dict[int | str, dict[str, Any]]:
    """Return the problems that a route may answer with, for its description."""
    found = (*statuses, 401, 403, 429) if closed else statuses
    return {
        status: {
            "description": "A problem.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        }
        for status in found
    }
