"""Secrets of this home, each in a file that only its user can read."""

from __future__ import annotations

import base64
import os
import secrets
import stat
from typing import TYPE_CHECKING, Final

from mcp_jobs.domain.errors import InvalidInputError, in_words
from mcp_jobs.domain.limits import signing_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FINGERPRINT_KEY: Final = "fingerprint.key"
WEBHOOK_SECRET: Final = "webhook.secret"  # noqa: S105 - a file name
_BYTES: Final = 32


def webhook_secret(home: Path) -> str:
    """Return the secret that this home signs webhooks with; made at the first use.

    Raises `InvalidInputError` for a file that holds no secret, or that others could have read.
    """
    return _signing(
        home / WEBHOOK_SECRET, _kept(home / WEBHOOK_SECRET, lambda: f"whsec_{_random()}")
    )


def fingerprint_key(home: Path) -> bytes:
    """Return the key of this home's hashes of secrets; made at the first use.

    Raises `InvalidInputError` for a file that others could have read.
    """
    return _kept(home / FINGERPRINT_KEY, _random).encode()


def check_webhook_secret(home: Path) -> None:
    """Raise `InvalidInputError` for a file that webhooks cannot be signed with; none is fine."""
    path = home / WEBHOOK_SECRET
    text = private_text(path)
    if text is not None:
        _signing(path, text.strip())


def private_text(path: Path) -> str | None:
    """Return what a private file holds; None when there is none.

    Raises `InvalidInputError` when others could have read or written it.
    """
    try:
        # What is no file must not make anybody wait for it.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInputError(f"The file {path} cannot be read: {_plain(error)}.") from error
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise InvalidInputError(f"{path} is not a file. Remove it, and a new one is made.")
        if info.st_uid != os.getuid() or info.st_mode & 0o077:
            raise InvalidInputError(
                f"{path} holds secrets and must belong to this user alone: chmod 600 it, or "
                "remove it if others may have read it."
            )
        with os.fdopen(fd, encoding="utf-8", errors="replace", closefd=False) as file:
            return file.read()
    finally:
        os.close(fd)


def write_private(path: Path, text: str, *, replace: bool) -> bool:
    """Write a private file in one step. False: there is one already and `replace` is not set."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            part.replace(path)
        else:
            # A link fails where a rename would replace what another process has just written.
            os.link(part, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise InvalidInputError(f"The file {path} cannot be written: {_plain(error)}.") from error
    finally:
        part.unlink(missing_ok=True)
    return True


def _kept(path: Path, make: Callable[[], str]) -> str:
    text = private_text(path)
    if text is None:
        write_private(path, make() + "\n", replace=False)
        text = private_text(path)
    return "" if text is None else text.strip()


def _signing(path: Path, text: str) -> str:
    try:
        return signing_secret(text)
    except ValueError as error:
        raise InvalidInputError(
            f"{path} holds the secret that signs webhooks, and cannot be used: {error}. Put that "
            "into the file, or remove it to have a new one made; receivers need the same."
        ) from None


def _random() -> str:
    return base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def _plain(error: OSError) -> str:
    # The sentence names the file.
    return in_words(error, with_file=False)
