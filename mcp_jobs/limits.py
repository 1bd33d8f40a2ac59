"""What the system can pass to a program."""

from __future__ import annotations

from typing import Final

ARGUMENT_LIMIT_BYTES: Final = 128 << 10
"""Linux refuses a single argument or environment value of this size at exec (MAX_ARG_STRLEN)."""


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
