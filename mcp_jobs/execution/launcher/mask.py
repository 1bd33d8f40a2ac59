"""Mask secret values in a stream of bytes, also where a chunk border cuts them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

REPLACEMENT = b"[masked]"
MIN_SECRET_BYTES = 6
"""Shorter values are not masked: they occur by chance, and the output would be unreadable."""


MIN_LINE_BYTES = 12
"""Shorter lines of a secret of several lines are not masked alone, as a brace of JSON."""

_JSON = {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}
_ESCAPE = b"\x1b"
_ESCAPE_BYTES = 64
_INTERMEDIATE = b" !\"#$%&'()*+,-./"
_BLANK = 0x20
_DIGITS = b"0123456789ABCDEF"
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"


def forms_of(secrets: Iterable[bytes]) -> set[bytes]:
    """Return the forms in which programs print secrets: trimmed, by lines, in JSON and in URLs.

    Those that are too short to be masked are left out.
    """
    forms: set[bytes] = set()
    for secret in secrets:
        parts = {secret, secret.strip()}
        if b"\n" in secret.strip():
            lines = (line.strip() for line in secret.splitlines())
            parts.update(line for line in lines if len(line) >= MIN_LINE_BYTES)
        for part in parts:
            if len(part.strip()) >= MIN_SECRET_BYTES:
                forms.update((part, *_in_json(part), *_in_urls(part)))
    return forms


def _in_json(part: bytes) -> tuple[bytes, ...]:
    plain = b"".join(
        _JSON.get(byte) or (b"\\u%04x" % byte if byte < _BLANK else b"%c" % byte) for byte in part
    )
    text = plain.decode("utf-8", "surrogateescape")
    points = "".join(
        c if c.isascii() or c > "\uffff" or "\udc80" <= c <= "\udcff" else f"\\u{ord(c):04x}"
        for c in text
    )
    # Some writers put a backslash before a slash as well.
    return plain, plain.replace(b"/", b"\\/"), points.encode("utf-8", "surrogateescape")


def _in_urls(part: bytes) -> Iterable[bytes]:
    """Return what encoders of URLs make: they differ in what they leave as it is."""
    for kept in (b"", b"/", b"!'()*"):
        quoted = b"".join(
            b"%c" % byte
            if byte in _PLAIN or byte in kept
            else b"%%%c%c" % (_DIGITS[byte >> 4], _DIGITS[byte & 15])
            for byte in part
        )
        yield quoted
        yield quoted.replace(b"%20", b"+")
    yield b"".join(b"%c" % byte if byte in _PLAIN else b"%%%02x" % byte for byte in part)


class Masker:
    """Replace secrets by `[masked]`: at the leftmost place, the longest that matches there.

    However the stream is cut into chunks, what `feed` and a last `flush` return is the same.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        kept = {bytes(secret) for secret in secrets if len(secret) >= MIN_SECRET_BYTES}
        # Longest first, so that the first match at a place is the one that wins.
        self._secrets = sorted(kept, key=len, reverse=True)
        self._pending = b""

    @property
    def held(self) -> int:
        """Bytes held back because they may be the start of a secret."""
        return len(self._pending)

    def feed(self, data: bytes | memoryview) -> bytes | memoryview:
        """Return what is safe to write now; the rest, shorter than a secret, is held.

        The answer may be a view of `data`: use it before the buffer changes.
        """
        if not self._secrets:
            return data
        # Two operands that are `bytes` are not copied when one of them is empty.
        buffer = self._pending + data
        if _ESCAPE in buffer:
            return self._coloured(buffer, final=False)
        safe, end = self._mask(buffer, self._hold_from(buffer, 0))
        self._pending = buffer[end:]
        return safe

    def flush(self) -> bytes:
        """Return what is held, masked where a whole secret is in it, and hold nothing.

        A secret whose end comes after this call is not seen any more.
        """
        buffer, self._pending = self._pending, b""
        if _ESCAPE in buffer:
            return self._coloured(buffer, final=True)
        return bytes(self._mask(buffer, len(buffer), final=True)[0])

    def _mask(
        self, buffer: bytes, hold: int, *, final: bool = False
    ) -> tuple[bytes | memoryview, int]:
        """Return the masked bytes before the place to hold from, and that place.

        A match may move the place, for its bytes are used up; not when it is `final`.
        """
        found = self._find_all(buffer)
        if len(found) == 1 and not _straddles(buffer, next(iter(found)), hold):
            return buffer[:hold].replace(next(iter(found)), REPLACEMENT), hold
        spans, hold = self._spans(buffer, found, hold, final=final)
        parts: list[bytes | memoryview] = []
        view = memoryview(buffer)
        done = 0
        for place, end in spans:
            parts += (view[done:place], REPLACEMENT)
            done = end
        parts.append(view[done:hold])
        return (b"".join(parts) if done else parts[0]), hold

    def _spans(
        self, buffer: bytes, found: dict[bytes, int], hold: int, *, final: bool
    ) -> tuple[list[tuple[int, int]], int]:
        """Return where secrets stand before the place to hold from, and that place."""
        spans: list[tuple[int, int]] = []
        while found:
            # `found` keeps the order of lengths and `min` takes the first of equals.
            secret = min(found, key=found.__getitem__)
            place = found[secret]
            if place >= hold:
                # The held bytes may become a secret that begins earlier, or a longer one here.
                break
            done = place + len(secret)
            spans.append((place, done))
            if done > hold:
                hold = len(buffer) if final else self._hold_from(buffer, done)
            found = _found_from(buffer, found, done)
        return spans, hold

    def _coloured(self, buffer: bytes, *, final: bool) -> bytes:
        """Mask bytes with escape sequences in them, which readers fold away.

        A secret that is broken by some is found all the same, and they are kept behind its mask.
        """
        pieces, cut = _plain_pieces(buffer, final=final)
        folded = b"".join([buffer[start:end] for start, end in pieces])
        hold = len(folded) if final else self._hold_from(folded, 0)
        spans, hold = self._spans(folded, self._find_all(folded), hold, final=final)
        raw = _Places(pieces)
        parts: list[bytes] = []
        done = 0
        for place, end in spans:
            first, last = raw.of(place), raw.of(end - 1) + 1
            parts += (buffer[done:first], REPLACEMENT, *raw.between(buffer, first))
            done = last
        kept = cut if hold == len(folded) else raw.of(hold)
        self._pending = buffer[kept:]
        return b"".join([*parts, buffer[done:kept]])

    def _find_all(self, buffer: bytes) -> dict[bytes, int]:
        places = ((secret, buffer.find(secret)) for secret in self._secrets)
        return {secret: place for secret, place in places if place >= 0}

    def _hold_from(self, buffer: bytes, start: int) -> int:
        """Return where the longest suffix begins that is a proper prefix of some secret.

        Suffixes that begin before `start` do not count. Without one it is the end.
        """
        hold = len(buffer)
        for secret in self._secrets:
            place = buffer.find(secret[:1], max(start, len(buffer) - len(secret) + 1), hold)
            while place >= 0 and not secret.startswith(buffer[place:]):
                place = buffer.find(secret[:1], place + 1, hold)
            if place >= 0:
                hold = place
        return hold


class _Places:
    """Where the bytes of a text stand that was put together from pieces."""

    def __init__(self, pieces: list[tuple[int, int]]) -> None:
        self._pieces = pieces
        self._at = 0
        self._before = 0
        """The length of the pieces before the one that was looked at last."""

    def of(self, place: int) -> int:
        """Return the place of a byte; those that are asked for rise."""
        while True:
            start, end = self._pieces[self._at]
            if place - self._before < end - start:
                return start + place - self._before
            self._before += end - start
            self._at += 1

    def between(self, buffer: bytes, first: int) -> list[bytes]:
        """Return what stands between the pieces from a place on to the one looked at last."""
        inner, at = [], self._at
        while at and self._pieces[at][0] > first:
            inner.append(buffer[self._pieces[at - 1][1] : self._pieces[at][0]])
            at -= 1
        return inner[::-1]


def _plain_pieces(buffer: bytes, *, final: bool) -> tuple[list[tuple[int, int]], int]:
    """Return the parts between escape sequences, and where an unfinished one begins, or the end."""
    pieces: list[tuple[int, int]] = []
    start = searched = 0
    while (escape := buffer.find(_ESCAPE, searched)) >= 0:
        end = _escape_end(buffer, escape)
        if end is None and not final:
            return [*pieces, (start, escape)], escape
        searched = end or escape + 1
        if end:
            pieces.append((start, escape))
            start = end
    return [*pieces, (start, len(buffer))], len(buffer)


def _escape_end(buffer: bytes, escape: int) -> int | None:
    """Return where an escape sequence ends; 0 when it is none, None when it may go on."""
    rest = buffer[escape + 1 : escape + 1 + _ESCAPE_BYTES]
    begun = rest[:1]
    if begun == b"[":
        after = rest[1:].lstrip(b"0123456789:;<=>?").lstrip(_INTERMEDIATE)
        complete, unfinished = b"@" <= after[:1] <= b"~", not after
    else:
        after = rest[1:]
        known = not begun or begun in _INTERMEDIATE
        complete = known and bool(begun) and b"0" <= after[:1] <= b"~"
        unfinished = known and not after
    if complete:
        return escape + 2 + len(rest) - len(after)
    return None if unfinished and len(rest) < _ESCAPE_BYTES else 0


def mask_text(text: str, secrets: Iterable[bytes]) -> str:
    """Return text with each of `secrets` in it replaced."""
    masker = Masker(forms_of(secrets))
    data = text.encode("utf-8", "surrogatepass")
    return (bytes(masker.feed(data)) + masker.flush()).decode("utf-8", "replace")


def _straddles(buffer: bytes, secret: bytes, place: int) -> bool:
    reach = len(secret) - 1
    return buffer.find(secret, max(0, place - reach), place + reach) >= 0


def _found_from(buffer: bytes, found: dict[bytes, int], start: int) -> dict[bytes, int]:
    """Move on the matches that begin before `start`; leave out secrets without another one."""
    moved = {
        secret: place if place >= start else buffer.find(secret, start)
        for secret, place in found.items()
    }
    return {secret: place for secret, place in moved.items() if place >= 0}
