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

from mcp_jobs.domain.errors import InvalidInputError

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

_FETCH_ANYHOW_S: Final = 3600.0
_CLOCK_SKEW_S: Final = 30
_CLAIM_CHARS: Final = 255
_LAST_S: Final = 253_402_300_800
"""The year 10000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """What a valid access token says about who bears it."""

    subject: str
    scopes: frozenset[str]
    expires_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A public key of the issuer, and what it may have signed with."""

    public: Any
    algorithms: tuple[str, ...]


class OidcVerifier(TokenVerifier):
    """Checks signature, issuer, audience and times of JSON Web Tokens.

    The keys come from the issuer's own description. They are asked for again when an unknown one is
    named, and once an hour.
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
        self._keys: dict[str | None, Key] = {}
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
            return self._told(self._claims(token, key))
        except jwt.PyJWTError:
            return None
        except Exception as error:  # noqa: BLE001 - whatever a stranger sends, it is no valid token
            logger.info("a token cannot be read: %s", type(error).__name__)
            return None

    def _claims(self, token: str, key: Key) -> dict[str, Any]:
        return jwt.decode(
            token,
            key.public,
            # The key and not the token says which algorithms it is for.
            algorithms=list(key.algorithms),
            audience=self._audience_text,
            issuer=self._issuer_text,
            leeway=_CLOCK_SKEW_S,
            options={
                "require": ["exp", "iss", "aud", "sub"],
                "enforce_minimum_key_length": True,
            },
        )

    def _told(self, claims: dict[str, Any]) -> AccessToken:
        """Return what is said by claims whose signature is good. Raises `InvalidTokenError`."""
        subject = _text(claims, "sub")
        client = next((_text(claims, name) for name in ("azp", "client_id") if name in claims), "")
        return AccessToken(
            token="",
            client_id=client or subject,
            scopes=_scopes(claims),
            expires_at=_seconds(claims, "exp"),
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

    async def _key(self, key_id: object) -> Key | None:
        if not (key_id is None or isinstance(key_id, str)):
            return None
        if self._must_fetch(key_id):
            async with self._fetching:
                if self._must_fetch(key_id):
                    self._fetched_at_s = time.monotonic()
                    await self._fetch()
        return self._keys.get(key_id)

    def _must_fetch(self, key_id: str | None) -> bool:
        if self._fetched_at_s is None:
            return True
        age_s = time.monotonic() - self._fetched_at_s
        # A key that its issuer has withdrawn must not be good for as long as this server lives.
        return age_s > (_FETCH_ANYHOW_S if key_id in self._keys else _FETCH_AGAIN_S)

    async def _fetch(self) -> None:
        try:
            async with httpx2.AsyncClient(timeout=_FETCH_S) as client:
                base = self._issuer_text.rstrip("/")
                told = await client.get(f"{base}/.well-known/openid-configuration")
                description = told.raise_for_status().json()
                if description.get("issuer") != self._issuer_text:
                    raise ValueError("it describes another issuer")
                answer = await client.get(description["jwks_uri"])
                self._keys = _usable(answer.raise_for_status().json())
        except Exception as error:  # noqa: BLE001 - whatever it answers, the known keys stay
            text = str(error) or type(error).__name__
            logger.warning("the keys of the issuer %s cannot be had: %s", self._issuer_text, text)


def _usable(told: Any) -> dict[str | None, Key]:
    """Return the keys of a JSON Web Key Set that signatures of tokens may be checked with, by id.

    Raises ValueError when there is none. A key that is for something else, or is none, is left out.
    """
    found: dict[str | None, Key] = {}
    for each in told["keys"]:
        if not isinstance(each, dict) or not _may_verify(each):
            continue
        try:
            key = jwt.PyJWK(each)
        except (jwt.PyJWTError, ValueError, TypeError, LookupError, AttributeError):
            continue
        algorithms = _algorithms(each, key)
        if algorithms and (key.key_id is None or isinstance(key.key_id, str)):
            found[key.key_id] = Key(public=key.key, algorithms=algorithms)
    if not found:
        raise ValueError("none of them is for checking signatures")
    return found


def _may_verify(key: dict[str, Any]) -> bool:
    """Say whether a key is meant for checking signatures (RFC 7517, 4.2 and 4.3)."""
    use, operations = key.get("use", "sig"), key.get("key_ops", ["verify"])
    public = key.get("kty") in ("RSA", "EC", "OKP") and "d" not in key
    return public and use == "sig" and isinstance(operations, list) and "verify" in operations


def _algorithms(described: dict[str, Any], key: jwt.PyJWK) -> tuple[str, ...]:
    """Return the algorithms that a key is for: the named one, or those of its kind."""
    if "alg" not in described and key.key_type == "RSA":
        return tuple(name for name in ALGORITHMS if name.startswith(("RS", "PS")))
    return tuple(name for name in ALGORITHMS if name == key.algorithm_name)


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims[name]
    if not isinstance(value, str) or not 0 < len(value) <= _CLAIM_CHARS or not value.isprintable():
        raise jwt.InvalidTokenError(f"{name} is not a short text")
    return value


def _seconds(claims: dict[str, Any], name: str) -> int:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LAST_S:
        raise jwt.InvalidTokenError(f"{name} is not a time")
    return int(value)


def _scopes(claims: dict[str, Any]) -> list[str]:
    """Return the scopes: words of a text (RFC 8693), or a list of texts as some issuers have it."""
    told = claims.get("scope", claims.get("scp", ""))
    scopes = told.split() if isinstance(told, str) else told
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise jwt.InvalidTokenError("the scopes are neither a text nor a list of texts")
    return scopes


def _url(text: str, flag: str) -> AnyHttpUrl:
    try:
        url = TypeAdapter(AnyHttpUrl).validate_python(text)
    except ValidationError:
        raise InvalidInputError(f"{flag} must be a URL, not {text!r}.") from None
    if url.scheme != "https" and urlsplit(text).hostname not in ("localhost", "127.0.0.1", "::1"):
        raise InvalidInputError(f"{flag} must begin with https://, not {text!r}.")
    return url
