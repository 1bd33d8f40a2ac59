"""What can be passed to a program, what is long enough to sign with, too long, and soon."""

from __future__ import annotations

import base64
from typing import Final

ARGUMENT_LIMIT_BYTES: Final = 128 << 10
"""Linux refuses a single argument or environment value of this size at exec (MAX_ARG_STRLEN)."""

WEBHOOK_SOON_MS: Final = 600_000
"""Webhooks that are due within this time keep a worker that drains; it covers the first pauses."""

CANCEL_GRACE_S: Final = 5
"""The time between SIGTERM and SIGKILL, where whoever ends a job does not say it."""

PROGRESS_MESSAGE_CHARS: Final = 200
"""The length of what a job says of its progress."""

SIGNING_BYTES: Final = 24
"""Standard Webhooks: a secret is 24 to 64 bytes."""

DECLARATIONS_BYTES: Final = 1 << 20
"""The largest file of job types."""


def passable(text: str, *, what: str) -> str:
    """Return `text` if the system can pass it to a program; raises ValueError if not."""
    if "\0" in text:
        raise ValueError(f"{what} contains a NUL character, which no program can be given")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{what} contains a character that cannot be encoded") from None
    if size >= ARGUMENT_LIMIT_BYTES:
        raise ValueError(
            f"{what} has {size} bytes and must stay below {ARGUMENT_LIMIT_BYTES} (128 KiB); put "
            "long input into a file"
        )
    return text


def signing_secret(text: str) -> str:
    """Return `text` if webhooks can be signed with it; raises ValueError, without it, if not."""
    try:
        secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ValueError("it must be whsec_ and base64") from None
    if len(secret) < SIGNING_BYTES:
        raise ValueError(
            f"it must be whsec_ and the base64 of at least {SIGNING_BYTES} random bytes, and holds "
            f"{len(secret)}; make one with: echo whsec_$(head -c 32 /dev/urandom | base64)"
        )
    return text
