"""Who may come in: bearer tokens, their scopes, and a limit on how often each may ask."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from starlette.websockets import WebSocket

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.interfaces.http.auth.rates import Rates
from mcp_jobs.interfaces.http.auth.tokens import OF_HOME, SCOPES, Principal
from mcp_jobs.interfaces.http.problem_details import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from mcp_jobs.interfaces.http.auth.tokens import TokenFile, TokenSet
    from mcp_jobs.interfaces.mcp.oidc import OidcVerifier, Visitor

logger = logging.getLogger(__name__)

PRINCIPAL: Final = "mcp_jobs.principal"
"""Where the principal stands in an ASGI scope."""

_FAILURES_PER_S: Final = 2.0
_FAILURES_BURST: Final = 20
_LONGEST_TOKEN: Final = 8192


class Authenticator:
    """Turns bearer tokens into principals. Follows the file, so that a removed token is one."""

    def __init__(
        self, file: TokenFile, *, only_declared: bool, verifier: OidcVerifier | None = None
    ) -> None:
        self._file = file
        self._verifier = verifier
        self._only_declared = only_declared
        self._mark = file.mark()
        self._tokens = file.load()
        self._refuse_mixture()
        self._first_owners = self._tokens.owners()

    @property
    def tokens(self) -> TokenSet:
        """The tokens as they are now; after a damage, those from before."""
        mark = self._file.mark()
        if mark != self._mark:
            try:
                self._tokens, self._mark = self._file.load(), mark
            except InvalidInputError as error:
                logger.warning("the tokens cannot be read anew: %s", error)
        return self._tokens

    @property
    def several_owners(self) -> bool:
        """Whether this server serves more than one owner."""
        return self._verifier is not None or len(self.tokens.owners()) > 1

    async def authenticate(self, token: str) -> Principal | None:
        """Return who presents `token`; None for nobody."""
        if len(token) > _LONGEST_TOKEN:
            return None
        found = self._allowed(self.tokens.find(token))
        if found is None and self._verifier is not None:
            return _of_issuer(await self._verifier.visitor(token))
        return found

    def still_valid(self, principal: Principal) -> bool:
        """Say whether a principal that came in before would come in now."""
        if principal.expires_at_s is not None:
            return time.time() < principal.expires_at_s
        # Also one whose owner or scopes have changed is another one.
        return self.tokens.holds(principal)

    def _allowed(self, principal: Principal | None) -> Principal | None:
        """A token of another owner that was added later must wait for a start that allows it."""
        if principal is None or self._only_declared or principal.owner in self._first_owners:
            return principal
        logger.warning(
            "the token %s is refused: tokens of several owners need --only-declared", principal.name
        )
        return None

    def _refuse_mixture(self) -> None:
        if self.several_owners and not self._only_declared:
            owners = ", ".join(sorted(self._tokens.owners()))
            others = " and those of the issuer" if self._verifier is not None else ""
            raise InvalidInputError(
                f"The tokens of this home belong to several owners ({owners}{others}). Owners "
                "are kept apart by this server, but one Unix user runs all their jobs, and a shell "
                "command of one could read the files of the others. Start with --only-declared, "
                "so that only declared job types can be started, or remove the tokens."
            )


class AuthGate:
    """Lets requests through that bear a valid token, at no more than their rate."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator,
        open_paths: frozenset[str],
        requests_per_second: float,
        challenge: str,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._open = open_paths
        self._rates = Rates(per_s=requests_per_second, burst=2 * requests_per_second)
        self._failures = Rates(per_s=_FAILURES_PER_S, burst=_FAILURES_BURST)
        self._challenge = challenge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"] in self._open:
            await self._app(scope, receive, send)
            return
        token = _bearer(scope)
        principal = None if token is None else await self._authenticator.authenticate(token)
        if principal is None:
            refusal = self._unauthorised(scope, given=token is not None)
        elif (wait_s := self._rates.take(principal.key)) > 0:
            refusal = _too_many(wait_s, "This token has sent too many requests.")
        else:
            scope[PRINCIPAL] = principal
            await self._app(scope, receive, send)
            return
        await refuse(refusal, scope, receive, send)

    def _unauthorised(self, scope: Scope, *, given: bool) -> Problem:
        client = (scope.get("client") or ("?", 0))[0]
        # Only failures count: a neighbour behind the same address must not lock others out.
        wait_s = self._failures.take(client)
        if wait_s > 0:
            return _too_many(wait_s, "Too many requests without a valid token.")
        detail = "The bearer token is not valid." if given else "A bearer token is needed."
        challenge = f'{self._challenge}, error="invalid_token"' if given else self._challenge
        return Problem(
            401,
            "unauthorized",
            f"{detail} Send the header Authorization: Bearer <token>; `mcp-jobs token` prints "
            "the token of this home.",
            headers={"www-authenticate": challenge},
        )


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request or a WebSocket handshake with a problem."""
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(problem)
    else:
        await problem(scope, receive, send)


def principal_of(scope: Mapping[str, Any]) -> Principal:
    """Return who a request that came through the gate is from."""
    principal: Principal = scope[PRINCIPAL]
    return principal


def _of_issuer(visitor: Visitor | None) -> Principal | None:
    if visitor is None:
        return None
    # No name of a token or an owner has a colon, so the two kinds cannot meet.
    owner = f"oidc:{visitor.subject}"
    return Principal(
        name=owner,
        owner=owner,
        scopes=visitor.scopes & frozenset(SCOPES) - OF_HOME,
        key=owner,
        expires_at_s=visitor.expires_at_s,
    )


def _bearer(scope: Scope) -> str | None:
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) != 1:
        return None
    scheme, _, token = found[0].decode("latin-1").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _too_many(wait_s: float, detail: str) -> Problem:
    headers = {"retry-after": str(max(1, round(wait_s + 0.5)))}
    return Problem(429, "too_many_requests", detail, headers=headers)
