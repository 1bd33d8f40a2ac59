"""The bearer tokens of a home, in one private file. Imports nothing of the extra.

The default token is kept as it is: its file is readable by the home's user only, who can read the
jobs themselves as well, and `mcp-jobs token` must be able to print it. Of the named tokens, which
are given to others, only a hash is kept. They are 256 random bits, so a plain hash is enough.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.execution import private_files
from mcp_jobs.service.assembly import LOCAL_OWNER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SCOPES: Final = ("read", "start", "cancel", "metrics", "admin")
OF_HOME: Final = frozenset({"metrics", "admin"})
"""Scopes that reach beyond one owner: the user of this home gives them, and no issuer does."""

DEFAULT_NAME: Final = "default"
FILE_NAME: Final = "tokens.json"

_PREFIX: Final = "mcpj_"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who a request comes from and what it may do."""

    name: str
    owner: str
    """Whose jobs it sees."""
    scopes: frozenset[str]
    key: str = field(repr=False, default="")
    """Names the credential without telling it: a hash."""
    expires_at_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedToken:
    """A token that was given to somebody; the token itself is not kept."""

    name: str
    owner: str
    scopes: tuple[str, ...]
    sha256: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSet:
    """What the file holds."""

    default: str = field(repr=False)
    event_key: bytes = field(repr=False)
    """Makes the ids of events unreadable, since they count the changes of every owner."""
    named: tuple[NamedToken, ...] = ()

    def owners(self) -> set[str]:
        """Return whose jobs can be seen with these tokens."""
        return {LOCAL_OWNER, *(token.owner for token in self.named)}

    def find(self, token: str) -> Principal | None:
        """Return who presents `token`; takes the same time for whichever token it is."""
        digest = _hash(token)
        found: Principal | None = None
        for principal in self._principals():
            if hmac.compare_digest(digest, principal.key):
                found = principal
        return found

    def holds(self, principal: Principal) -> bool:
        """Say whether somebody who came in with one of these tokens would be the same now."""
        return principal in self._principals()

    def _principals(self) -> list[Principal]:
        everything = Principal(
            name=DEFAULT_NAME,
            owner=LOCAL_OWNER,
            scopes=frozenset(SCOPES),
            key=_hash(self.default),
        )
        named = [
            Principal(
                name=token.name,
                owner=token.owner,
                scopes=frozenset(token.scopes),
                key=token.sha256,
            )
            for token in self.named
            if token.owner != LOCAL_OWNER
        ]
        return [everything, *named]


class TokenFile:
    """Reads and changes the tokens of one home. The home exists."""

    def __init__(self, home: Path) -> None:
        self.path = home / FILE_NAME
        self._lock_path = home / f".{FILE_NAME}.lock"

    def load(self) -> TokenSet:
        """Return the tokens; the default one is made at the first use.

        Raises `InvalidInputError` when others can read the file, or when it is damaged.
        """
        text = private_files.private_text(self.path)
        if text is None:
            with self._locked():
                fresh = TokenSet(default=_new_token(), event_key=secrets.token_bytes(32))
                private_files.write_private(self.path, _text_of(fresh), replace=False)
            text = private_files.private_text(self.path) or ""
        return self._parsed(text)

    def add(self, name: str, *, owner: str | None, scopes: Sequence[str]) -> str:
        """Make a named token and return it; it is not shown again.

        Without `owner` it sees only jobs of its own name. Raises `InvalidInputError`.
        """
        owner = name if owner is None else owner
        self._check(name, owner, scopes)
        self.load()
        with self._locked():
            tokens = self.load()
            if any(token.name == name for token in tokens.named):
                raise InvalidInputError(
                    f"There is a token {name!r} already. Remove it first, or use another name."
                )
            fresh = _new_token()
            ordered = tuple(scope for scope in SCOPES if scope in scopes)
            added = NamedToken(name=name, owner=owner, scopes=ordered, sha256=_hash(fresh))
            self._store(tokens, (*tokens.named, added))
        return fresh

    def remove(self, name: str) -> None:
        """Revoke a named token, in running servers too. Raises `InvalidInputError`."""
        self.load()
        with self._locked():
            tokens = self.load()
            rest = tuple(token for token in tokens.named if token.name != name)
            if len(rest) == len(tokens.named):
                known = ", ".join(token.name for token in tokens.named) or "none"
                raise InvalidInputError(f"There is no token {name!r}. Named tokens: {known}.")
            self._store(tokens, rest)

    def mark(self) -> tuple[int, ...]:
        """Return something that is different after every change of the file."""
        try:
            info = self.path.stat()
        except OSError:
            return ()
        return info.st_ino, info.st_mtime_ns, info.st_size, info.st_mode

    def _store(self, tokens: TokenSet, named: tuple[NamedToken, ...]) -> None:
        changed = TokenSet(default=tokens.default, event_key=tokens.event_key, named=named)
        private_files.write_private(self.path, _text_of(changed), replace=True)

    def _parsed(self, text: str) -> TokenSet:
        try:
            stored: dict[str, Any] = json.loads(text)
            return TokenSet(
                default=stored["default"],
                event_key=bytes.fromhex(stored["event_key"]),
                named=tuple(
                    NamedToken(**{**token, "scopes": tuple(token["scopes"])})
                    for token in stored["named"]
                ),
            )
        except (ValueError, KeyError, TypeError):
            # The cause could show a part of the file.
            raise InvalidInputError(
                f"{self.path} is damaged. Remove it to get a new default token; named tokens must "
                "then be made again."
            ) from None

    @staticmethod
    def _check(name: str, owner: str, scopes: Sequence[str]) -> None:
        for text in (name, owner):
            if _NAME.fullmatch(text) is None:
                raise InvalidInputError(
                    f"{text!r} cannot be the name of a token or an owner: use 1 to 64 lower-case "
                    "letters, digits, dots, dashes and underscores."
                )
        if owner == LOCAL_OWNER:
            raise InvalidInputError(
                f"The jobs of the owner {LOCAL_OWNER!r} are those of the user of this home, and "
                "only the default token is for them. Give the token another --owner or name."
            )
        if name == DEFAULT_NAME:
            raise InvalidInputError("The default token has this name; use another one.")
        if not scopes or not set(scopes) <= set(SCOPES):
            raise InvalidInputError(
                f"The scopes of a token are one or more of {', '.join(SCOPES)}."
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _text_of(tokens: TokenSet) -> str:
    stored = {
        "default": tokens.default,
        "event_key": tokens.event_key.hex(),
        "named": [asdict(token) for token in tokens.named],
    }
    return json.dumps(stored, indent=1) + "\n"


def _new_token() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
