"""Ids of events: places in the log of changes that tell nothing to who receives them.

The log counts the changes of every owner, so a plain number would show how busy the others are.
An id is the number encrypted for one owner, the same each time (a synthetic nonce), and one that
was made for another owner, or with another key, is not valid.
"""

from __future__ import annotations

import hmac
from typing import Final

_PART: Final = 8


class Cursors:
    """Makes and reads the ids of one home."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def text(self, owner: str, seq: int) -> str:
        """Return the id of the change `seq` for `owner`."""
        plain = seq.to_bytes(_PART, "big")
        tag = self._mac(b"tag", owner.encode(), plain)
        return (tag + _xor(plain, self._mac(b"pad", tag))).hex()

    def seq(self, owner: str, text: str) -> int | None:
        """Return the change that an id stands for; None when it is none of this owner's."""
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            return None
        if len(raw) != 2 * _PART:
            return None
        tag, hidden = raw[:_PART], raw[_PART:]
        plain = _xor(hidden, self._mac(b"pad", tag))
        if not hmac.compare_digest(tag, self._mac(b"tag", owner.encode(), plain)):
            return None
        return int.from_bytes(plain, "big")

    def _mac(self, *parts: bytes) -> bytes:
        text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, text, "sha256")[:_PART]


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
