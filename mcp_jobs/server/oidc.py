"""Access tokens of an OpenID Connect issuer: this server as an OAuth resource server."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import anyio
import httpx2
import jwt
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from pydantic import AnyHttpUrl, TypeAdapter, ValidationError

from mcp_jobs.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route

logger = logging.getLogger(__name__)

ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "EdDSA",
)
"""Signatures with public keys only: a secret that both sides share cannot come from an issuer."""

_FETCH_S: Final = 10.0
_FETCH_AGAIN_S: Final = 30.0
"""An unknown key id may be a new one, but strangers must not make us ask the issuer each time."""

_CLOCK_SKEW_S: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """What a valid access token says about who bears it."""

    subject: str
    scopes: frozenset[str]
    expires_at_s: int


class OidcVerifier(TokenVerifier):
    """Checks signature, issuer, audience and times of JSON Web Tokens.

    The keys come from the issuer's own description and are kept until an unknown one is named.
    """

    def __init__(self, *, issuer: str, audience: str) -> None:
        if not issuer or not audience:
            raise InvalidInputError(
                "An OIDC issuer needs an audience, and the audience an issuer: set both "
                "--oidc-issuer and --oidc-audience (the URL of this server's /mcp)."
            )
        self.issuer = _url(issuer, "--oidc-issuer")
        self.audience = _url(audience, "--oidc-audience")
        self._issuer_text = issuer
        self._audience_text = audience
        self._keys: dict[str | None, Any] = {}
        self._fetched_at_s: float | None = None
        self._fetching = anyio.Lock()

    def metadata_routes(self, scopes: Sequence[str]) -> list[Route]:
        """Return the routes that tell clients which issuer to ask (RFC 9728)."""
        return create_protected_resource_routes(self.audience, [self.issuer], list(scopes))

    @property
    def metadata_url(self) -> str:
        """Where clients find that description."""
        return str(build_resource_metadata_url(self.audience))

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what an access token says; None when it is not valid here."""
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = await self._key(key_id)
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._audience_text,
                issuer=self._issuer_text,
                leeway=_CLOCK_SKEW_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError:
            return None
        subject = str(claims["sub"])
        return AccessToken(
            token="",
            client_id=str(claims.get("azp") or claims.get("client_id") or subject),
            scopes=_scopes(claims),
            expires_at=int(claims["exp"]),
            subject=subject,
            resource=self._audience_text,
            claims={"iss": self._issuer_text},
        )

    async def visitor(self, token: str) -> Visitor | None:
        """Return who bears a token; None when it is not valid here."""
        found = await self.verify_token(token)
        if found is None or found.subject is None or found.expires_at is None:
            return None
        scopes = frozenset(found.scopes)
        return Visitor(subject=found.subject, scopes=scopes, expires_at_s=found.expires_at)

    async def _key(self, key_id: str | None) -> Any:
        if key_id not in self._keys:
            async with self._fetching:
                now_s = time.monotonic()
                if key_id not in self._keys and (
                    self._fetched_at_s is None or now_s - self._fetched_at_s > _FETCH_AGAIN_S
                ):
                    self._fetched_at_s = now_s
                    await self._fetch()
        return self._keys.get(key_id)

    async def _fetch(self) -> None:
        try:
            async with httpx2.AsyncClient(timeout=_FETCH_S) as client:
                base = self._issuer_text.rstrip("/")
                told = await client.get(f"{base}/.well-known/openid-configuration")
                description = told.raise_for_status().json()
                if description.get("issuer") != self._issuer_text:
                    raise ValueError("it describes another issuer")
                answer = await client.get(description["jwks_uri"])
                found = jwt.PyJWKSet.from_dict(answer.raise_for_status().json())
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
            logger.warning("the keys of the issuer %s cannot be had: %s", self._issuer_text, error)
            return
        self._keys = {key.key_id: key for key in found.keys}


def _scopes(claims: dict[str, Any]) -> list[str]:
    told = claims.get("scope", claims.get("scp", ""))
    return told.split() if isinstance(told, str) else [str(scope) for scope in told]


def _url(text: str, flag: str) -> AnyHttpUrl:
    try:
        url = TypeAdapter(AnyHttpUrl).validate_python(text)
    except ValidationError:
        raise InvalidInputError(f"{flag} must be a URL, not {text!r}.") from None
    if url.scheme != "https" and urlsplit(text).hostname not in ("localhost", "127.0.0.1", "::1"):
        raise InvalidInputError(f"{flag} must begin with https://, not {text!r}.")
    return url
