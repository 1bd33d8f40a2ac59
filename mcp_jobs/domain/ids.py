"""Job ids: `<time><random>` in lower-case Crockford base 32, 25 characters.

Nine characters of milliseconds make ids sort by creation, sixteen characters are 80 random bits.
The alphabet (https://www.crockford.com/base32.html) has no i, l, o and u, so that nothing in an id
can be misread.
"""

from __future__ import annotations

import secrets
from typing import Final

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
TIME_CHARS: Final = 9
RANDOM_CHARS: Final = 16
ID_LENGTH: Final = TIME_CHARS + RANDOM_CHARS


def new_id(now_ms: int) -> str:
    """Return a fresh id for a job created at `now_ms`."""
    return _encode(now_ms, TIME_CHARS) + _encode(secrets.randbits(5 * RANDOM_CHARS), RANDOM_CHARS)


def is_id(text: str) -> bool:
    """Say whether `text` has the shape of a job id (and so is safe as a file name)."""
    return len(text) == ID_LENGTH and all(c in ALPHABET for c in text)


def _encode(number: int, length: int) -> str:
    digits: list[str] = []
    for _ in range(length):
        number, low = divmod(number, 32)
        digits.append(ALPHABET[low])
    return "".join(reversed(digits))
