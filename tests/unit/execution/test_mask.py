"""The masker hides every whole secret, however the stream is cut."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_jobs.execution.launcher.mask import REPLACEMENT, Masker, mask_text

# Two letters, so that secrets overlap and contain one another all the time.
_SECRETS = st.lists(st.text("ab", min_size=4, max_size=9).map(str.encode), max_size=5)
_PLAIN = st.text("abc", max_size=6).map(str.encode)


@st.composite
def _streams(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    secrets = draw(_SECRETS)
    parts = st.one_of(_PLAIN, st.sampled_from(secrets)) if secrets else _PLAIN
    return secrets, b"".join(draw(st.lists(parts, max_size=12)))


def _mask_whole(secrets: list[bytes], data: bytes) -> bytes:
    """Mask by a regular expression: the obvious way, for data that is all there."""
    masked = sorted((s for s in secrets if len(s) >= 6), key=len, reverse=True)
    if not masked:
        return data
    return re.sub(b"|".join(map(re.escape, masked)), REPLACEMENT, data)


def _mask_chunks(secrets: list[bytes], chunks: list[bytes]) -> bytes:
    masker = Masker(secrets)
    return b"".join(bytes(masker.feed(chunk)) for chunk in chunks) + masker.flush()


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(borders)]


@given(_streams(), st.lists(st.integers(0, 200), max_size=20))
@example(([b"aaaaaab", b"aaaaaa"], b"aaaaaaaaaaaab"), [6])
@example(([b"abcabc", b"bcabcb"], b"abcabcb"), [5])
def test_masking_in_any_chunking_equals_masking_the_whole(
    stream: tuple[list[bytes], bytes], places: list[int]
) -> None:
    secrets, data = stream
    assert _mask_chunks(secrets, _cut(data, places)) == _mask_whole(secrets, data)


@given(_streams())
def test_masking_byte_by_byte_equals_masking_the_whole(stream: tuple[list[bytes], bytes]) -> None:
    secrets, data = stream
    singles = [data[place : place + 1] for place in range(len(data))]
    assert _mask_chunks(secrets, singles) == _mask_whole(secrets, data)


@given(_streams(), st.lists(st.integers(0, 200), max_size=20))
def test_no_secret_appears_in_the_output(
    stream: tuple[list[bytes], bytes], places: list[int]
) -> None:
    secrets, data = stream
    written = _mask_chunks(secrets, _cut(data, places))
    assert not [secret for secret in secrets if len(secret) >= 6 and secret in written]


@given(st.lists(st.binary(min_size=6, max_size=12), max_size=4), st.data())
def test_what_is_held_is_the_longest_possible_start_of_a_secret(
    secrets: list[bytes], data: st.DataObject
) -> None:
    noise = data.draw(st.binary(max_size=20))
    start = data.draw(st.sampled_from(secrets)) if secrets else b""
    stream = noise + start[: data.draw(st.integers(0, max(0, len(start) - 1)))]
    # An escape sequence that may go on is held as well.
    if b"\x1b" in stream or any(secret in stream for secret in secrets):
        return
    masker = Masker(secrets)
    written = bytes(masker.feed(stream))
    ends = (stream[place:] for place in range(len(stream) + 1))
    starts = {secret[:length] for secret in secrets for length in range(len(secret))}
    longest = next((end for end in ends if end in starts), b"")
    assert (masker.held, written + longest) == (len(longest), stream)


def test_without_secrets_the_input_is_returned_untouched() -> None:
    data = memoryview(b"hunter2")
    masker = Masker([])
    assert masker.feed(data) is data
    assert masker.held == 0


def test_values_under_six_bytes_are_not_masked() -> None:
    assert _mask_chunks([b"", b"12345"], [b"12345 and 123456"]) == b"12345 and 123456"


def test_a_value_of_six_bytes_is_masked() -> None:
    assert _mask_chunks([b"123456"], [b"a123456b"]) == b"a[masked]b"


def test_a_secret_that_contains_another_wins_at_the_same_place() -> None:
    secrets = [b"secret", b"secret-and-more"]
    assert _mask_chunks(secrets, [b"secret-and", b"-more!"]) == b"[masked]!"


def test_a_shorter_secret_is_written_masked_once_it_cannot_grow() -> None:
    masker = Masker([b"secret", b"secret-and-more"])
    assert bytes(masker.feed(b"secret")) == b""
    assert masker.held == 6
    assert bytes(masker.feed(b"-and-none")) == b"[masked]-and-none"
    assert masker.held == 0


def test_the_leftmost_of_two_overlapping_secrets_wins() -> None:
    assert _mask_chunks([b"abcdef", b"efghij"], [b"xabcdefghijx"]) == b"x[masked]ghijx"


def test_flushing_masks_a_whole_secret_that_was_held_for_a_longer_one() -> None:
    masker = Masker([b"secret", b"my-secret-token"])
    assert bytes(masker.feed(b"my-secret")) == b""
    assert masker.flush() == b"my-[masked]"
    assert masker.held == 0
    assert masker.flush() == b""


def test_flushing_gives_out_an_unfinished_start() -> None:
    masker = Masker([b"hunter2"])
    assert bytes(masker.feed(b"go hunt")) == b"go "
    assert masker.flush() == b"hunt"
    assert bytes(masker.feed(b"er2")) == b"er2"


def test_held_bytes_do_not_change_with_the_buffer_they_came_from() -> None:
    masker = Masker([b"hunter2"])
    buffer = bytearray(b"go hunt")
    assert bytes(masker.feed(memoryview(buffer))) == b"go "
    buffer[:] = b"er2 ok "
    assert bytes(masker.feed(memoryview(buffer))) == b"[masked] ok "


PEM = b"-----BEGIN KEY-----\nMIIEvQIBADANBgkq/kiG9w0BAQ+FAAS=\nshort\n-----END KEY-----\n"


@pytest.mark.parametrize(
    ("secret", "printed"),
    [
        (b" hunter22\n", b"hunter22"),
        (PEM, b"MIIEvQIBADANBgkq/kiG9w0BAQ+FAAS="),
        (PEM, json.dumps(PEM.decode()).encode()[1:-1]),
        (PEM, quote(PEM).encode()),
        (PEM, quote(b"MIIEvQIBADANBgkq/kiG9w0BAQ+FAAS=", safe="").encode()),
        (b'pa"ss\\w\tord', json.dumps('pa"ss\\w\tord').encode()[1:-1]),
        ("pässwörter".encode(), json.dumps("pässwörter").encode()[1:-1]),
        (b"pass/word", b"pass\\/word"),
        (b"pass word&x", quote("pass word&x").encode()),
        (b"pass word&x", quote_plus("pass word&x").encode()),
        (b"pass:word/x", b"pass%3aword%2fx"),
        (b"it's(it)!", b"it's(it)!"),
    ],
)
def test_a_secret_is_masked_in_each_form_that_programs_print(secret: bytes, printed: bytes) -> None:
    assert mask_text(printed.decode(), [secret]) == REPLACEMENT.decode()


def test_short_lines_and_short_values_are_no_secrets() -> None:
    assert mask_text("short {true} 1", [b'{\n"k": 1,\nshort\n}', b"true", b"1", b"  1     "]) == (
        "short {true} 1"
    )


_ESCAPES = ("\x1b[31m", "\x1b[0m", "\x1b[K", "\x1b(B", "\x1b[1;38:5:9m", "\x1b[", "\x1b", "\x1bz")


def _folded(data: bytes) -> bytes:
    return re.sub(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[ -/][0-~])", b"", data)


@given(
    st.lists(st.text("ab", min_size=6, max_size=8).map(str.encode), min_size=1, max_size=4),
    st.lists(st.text("ab", max_size=9) | st.sampled_from(_ESCAPES), max_size=14),
    st.lists(st.integers(0, 200), max_size=20),
)
@example([b"aaaaaa"], ["aaa", "\x1b[31m", "aaa", "\x1b[0m"], [3, 4, 6])
@example([b"aaaaaa"], ["\x1b", "aaaaaa"], [])
def test_escape_sequences_hide_no_secret_however_the_stream_is_cut(
    secrets: list[bytes], parts: list[str], places: list[int]
) -> None:
    data = "".join(parts).encode()
    written = _mask_chunks(secrets, [data])
    assert _mask_chunks(secrets, _cut(data, places)) == written
    # Behind an escape alone the bracket of the mask would begin a sequence.
    marked = written.replace(REPLACEMENT, b"\xff")
    assert _folded(marked) == _mask_whole(secrets, _folded(data)).replace(REPLACEMENT, b"\xff")
    # Colours stay as they were, also those that stood inside of a secret.
    assert re.findall(rb"\x1b\[\d\d?m", written) == re.findall(rb"\x1b\[\d\d?m", data)


def test_a_secret_broken_by_a_colour_is_masked_with_its_colours_kept() -> None:
    data = b"key \x1b[01;31mhunt\x1b[m\x1b[Ker22\x1b[0m end"
    assert _mask_chunks([b"hunter22"], [data]) == (
        b"key \x1b[01;31m[masked]\x1b[m\x1b[K\x1b[0m end"
    )
