"""Secrets of this home, each in a file that only its user can read."""

from __future__ import annotations

import base64
import os
import secrets
from typing import TYPE_CHECKING, Final

from mcp_jobs.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEBHOOK_SECRET: Final = "webhook.secret"  # noqa: S105 - a file name
_BYTES: Final = 32


def webhook_secret(home: Path) -> str:
    """Return the secret that this home signs webhooks with; made at the first use."""
    return _kept(home / WEBHOOK_SECRET, lambda: f"whsec_{_random()}")


def private_text(path: Path) -> str | None:
    """Return what a private file holds; None when there is none.

    Raises `InvalidInputError` when others could have read or written it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInputError(f"The file {path} cannot be read: {error.strerror}.") from error
    with os.fdopen(fd, encoding="utf-8") as file:
        info = os.fstat(fd)
        if info.st_uid != os.getuid() or info.st_mode & 0o077:
            raise InvalidInputError(
                f"{path} holds secrets and must belong to this user alone: chmod 600 it, or "
                "remove it if others may have read it."
            )
        return file.read()


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
        raise InvalidInputError(f"The file {path} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
    return True


def _kept(path: Path, make: Callable[[], str]) -> str:
    text = private_text(path)
    if text is None:
        write_private(path, make() + "\n", replace=False)
        text = private_text(path)
    return "" if text is None else text.strip()


def _random() -> str:
    return base64.b64encode(secrets.token_bytes(_BYTES)).decode()
